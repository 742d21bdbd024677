"""A whole control plane in this process: the real application on a real site, no sockets, and a clock that a test moves.

Everything between a request's bytes and the database is what `edgelift serve` runs. The controller looks and telemetry
is summed when the test says so, so that a sequence of calls is the same each time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from edgelift_contract.errors import TransportError
from edgelift_fleet.api.app import make_app
from edgelift_fleet.db import ROWS, SITE, Database
from edgelift_fleet.devices import begin_listening
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.intake import Message
from edgelift_fleet.rollout import hearing
from edgelift_fleet.rollout.controller import Controller
from edgelift_fleet.site import Site
from edgelift_fleet.telemetry.fold import fold

_real_time = time.time


class Clock:
    """What `time.time()` says inside `running`: the machine's clock, ahead or behind by `shift_s`.

    Attributes:
        shift_s: may be set to anything: the clock jumps.
    """

    def __init__(self) -> None:
        self.shift_s = self._passed_s = 0.0

    def now(self) -> float:
        return _real_time() + self.shift_s

    def let_pass(self, by_s: float) -> None:
        """No jump: so much time is gone."""
        self.shift_s += by_s
        self._passed_s += by_s

    @contextmanager
    def running(self) -> Iterator[None]:
        time.time, steady = self.now, hearing.steady
        hearing.steady = lambda: steady() + self._passed_s
        try:
            yield
        finally:
            time.time, hearing.steady = _real_time, steady


class Complaints(logging.Handler):
    """What was logged as an error, or with an exception."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or record.levelno >= logging.ERROR:
            self.found.append(logging.Formatter().format(record))


@dataclass(frozen=True)
class Answer:
    """What a request was answered."""

    status: int
    headers: dict[str, str]
    data: bytes

    def json(self) -> Any:
        return json.loads(self.data)


class InProcess:
    """A server of a site, as a context."""

    def __init__(self, site: Site, clock: Clock) -> None:
        self.site, self.clock = site, clock

    def __enter__(self) -> InProcess:
        self._loop = asyncio.new_event_loop()
        self._ends, self.complaints = ExitStack(), Complaints()
        self._ends.callback(self._loop.close)
        logging.getLogger().addHandler(self.complaints)
        self._ends.callback(logging.getLogger().removeHandler, self.complaints)
        self.db = Database(self.site.database)
        self._ends.callback(self.db.close)
        self.fleet = Fleet(self.site, self.db)
        self._ends.enter_context(self.fleet.lead)
        assert self.fleet.lead.wait(60)
        self._ends.enter_context(self.fleet.revisions)
        self._ends.enter_context(self.fleet.inbox)
        self.controller = Controller(
            self.fleet.lead, self.db, self.fleet.seen, self.fleet.changes, self.fleet.work
        )
        self._app = make_app(self.fleet)
        with self.clock.running():
            self._as_leader(self._listen)  # as a server that starts
        self._tokens = {who: self.site.secret(f"{who}-token") for who in ("operator", "enrolment")}
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._ends.close()

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        who: str = "operator",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request: `body` as it is if bytes, else as JSON."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        path, _, query = path.partition("?")
        sent = {
            "authorization": f"Bearer {self._tokens[who]}",
            "content-length": str(len(data)),
            **(headers or {}),
        }
        if data:
            sent.setdefault("content-type", "application/json")
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
            "raw_path": path.encode(), "query_string": query.encode(), "scheme": "http", "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
            "client": ("10.0.0.1", 40000), "server": ("127.0.0.1", 80),
        }  # fmt: skip
        with self.clock.running():
            return self._loop.run_until_complete(self._ask(scope, data))

    async def _ask(self, scope: dict[str, Any], data: bytes) -> Answer:
        pending = [{"type": "http.request", "body": data, "more_body": False}]
        told: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if not pending:
                await asyncio.Event().wait()  # nothing more comes, and the client stays
            return pending.pop()

        async def send(message: dict[str, Any]) -> None:
            told.append(message)

        await self._app(scope, receive, send)
        start = next(one for one in told if one["type"] == "http.response.start")
        names = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], names, b"".join(one.get("body", b"") for one in told))

    def hear(self, *messages: Message) -> list[object]:
        """Messages as a broker brings them; what became of each."""
        with self.clock.running():
            return self.fleet.intake.take(messages)

    def look(self) -> None:
        """The controller looks once."""
        with self.clock.running():
            self._as_leader(self.controller.step)

    def sum_up(self) -> None:
        """Telemetry that waits is summed."""

        def sum_up() -> None:
            with self.fleet.lead.write(ROWS) as session:
                fold(session)

        with self.clock.running():
            self._as_leader(sum_up)

    def _listen(self) -> None:
        with self.fleet.lead.write(SITE) as session:
            begin_listening(session, self.fleet.seen, time.time())

    def _as_leader(self, act: Callable[[], object]) -> None:
        """On a busy machine PostgreSQL may answer so late that the lead lapses: it comes back, and what acts acts then."""
        for _ in range(600):
            try:
                act()
                return
            except TransportError:
                time.sleep(0.1)
        raise AssertionError("the lead did not come back")

    def get_paths(self) -> list[str]:
        """Every GET path of the operators' side, as its document names them."""
        document = self.ask("GET", "/openapi.json").json()
        return [path for path, methods in document["paths"].items() if "get" in methods]
