"""`edgelift serve` as a process on a site of its own, kept off the client's core, with what it costs."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psutil
import sqlalchemy as sa
from tests.fleet.postgres import Postgres, find_postgres
from tests.fleet.releases import make_release
from tests.fleet.trust.sites import sign

from benchmarks.polls import on_every_core
from edgelift_contract.identity import parse_token
from edgelift_fleet.client import Client
from edgelift_fleet.db import Database
from edgelift_fleet.first_contact import pinned_authority
from edgelift_fleet.messages import TokenMade, TokenRequest
from edgelift_fleet.registry import publish
from edgelift_fleet.simulate.http import Address
from edgelift_fleet.site import SHARED_TOKEN, create_site, load_site
from edgelift_fleet.tables import SlotStateRow, TelemetryEpochRow, TelemetryPendingRow

ROOT = Path(__file__).parents[2]
VERSIONS = "1234"
#: Longer than any answer takes on a busy machine, seconds.
PATIENCE_S = 600.0


class Serving:
    """A running control plane; `cpu_s` and `rss_mb` are of the server's own process, not of its broker's."""

    def __init__(self, site: Path, process: subprocess.Popen[bytes], database: Path | str) -> None:
        info = json.loads((site / "run" / "server.json").read_text())
        self.site, self.url, self.pid = site, info["url"], process.pid
        self._process, self._database = psutil.Process(process.pid), database
        self.certified = load_site(site).config.tls
        #: Where the boards' certificates are.
        self.boards = site.parent / "boards"

    def client(self) -> Client:
        return Client.of_site(load_site(self.site), timeout_s=PATIENCE_S)

    @property
    def token(self) -> str:
        """That all devices share; a site with certificates has none."""
        return "" if self.certified else load_site(self.site).secret(SHARED_TOKEN)

    @functools.cached_property
    def address(self) -> Address:
        """For boards."""
        if not self.certified:
            return Address.of(self.url, self.token)
        made = self.client().post("/v1/tokens", TokenRequest(uses=1_000_000, days=1), TokenMade)
        token = parse_token(made.token)
        self.boards.mkdir(exist_ok=True)
        return Address.certified(token.url, token.secret, pinned_authority(token.url, token.pin), self.boards)

    def cpu_s(self) -> float:
        spent = self._process.cpu_times()
        return spent.user + spent.system

    def rss_mb(self) -> float:
        return self._process.memory_info().rss / 1e6

    def waiting_windows(self) -> int:
        """How many windows are stored and not yet summed."""
        with closing(Database(self._database)) as db, db.read() as session:
            return session.scalar(sa.select(sa.func.count()).select_from(TelemetryPendingRow)) or 0

    def observing(self) -> int:
        """How many devices have said that something is on probation on them."""
        query = sa.select(sa.func.count()).select_from(SlotStateRow).where(SlotStateRow.state == "observing")
        with closing(Database(self._database)) as db, db.read() as session:
            return session.scalar(query) or 0

    def stored_windows(self, devices: list[str]) -> int:
        """How many windows of these devices came."""
        row = TelemetryEpochRow
        query = sa.select(sa.func.sum(row.windows)).where(row.device.in_(devices))
        with closing(Database(self._database)) as db, db.read() as session:
            return int(session.scalar(query) or 0)

    def nudge_broker(self) -> None:
        """Have mosquitto read its users again: it forgets a signal that comes while it reads them (2.0.11)."""
        for child in self._process.children(recursive=True):
            if "mosquitto" in child.name():
                child.send_signal(signal.SIGHUP)

    def core_pct(self, seconds: float) -> float:
        """Share of one core that it takes over the next seconds, per cent."""
        began, spent = time.monotonic(), self.cpu_s()
        time.sleep(seconds)
        return 100 * (self.cpu_s() - spent) / (time.monotonic() - began)


def databases(wanted: str) -> list[str]:
    """The kinds of database asked for that this machine has."""
    kinds = ["sqlite", "postgresql"] if wanted == "both" else [wanted]
    if "postgresql" in kinds and find_postgres() is None:
        print("PostgreSQL is not installed here: left out", file=sys.stderr)
        kinds.remove("postgresql")
    return kinds


@contextmanager
def serving(folder: Path, database: str, *, signed: bool = True, certified: bool = True) -> Iterator[Serving]:
    """A control plane with `digits@1` … `digits@4`, on SQLite or a PostgreSQL of its own; with a broker if there is one.

    It signs what its boards are given, unless it is not `signed`; they have certificates, unless they are not `certified`.
    """
    with ExitStack() as stack:
        url = ""
        if database == "postgresql":
            programs = find_postgres()
            assert programs is not None
            postgres = Postgres(programs)
            stack.callback(postgres.remove)
            with on_every_core():
                url = postgres.start().database()
        site = folder / "site"
        made, _ = create_site(site, database=url, tls=certified)
        with closing(Database(made.database)) as db:
            db.migrate()
            for version in VERSIONS:
                make_release(folder / version, version)
                publish(load_site(site), db, folder / version)
        if signed:
            sign(made, [folder / version for version in VERSIONS])
        process = _start(site, folder / "serve.log")
        stack.callback(_stop, process)
        yield Serving(site, process, made.database)


def _start(site: Path, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from edgelift.cli import main; main()", "serve", "--site", str(site)]
    with log.open("ab") as out, on_every_core():  # also its broker, which stays where the machine has room
        process = subprocess.Popen(
            [*command, "--port", "0"], stdout=subprocess.PIPE, stderr=out, stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'agent'}:{ROOT / 'builder'}"},
        )  # fmt: skip
    assert process.stdout is not None
    if not process.stdout.readline().startswith(b"Serving "):
        raise SystemExit(f"the server did not start:\n{log.read_text()[-3000:]}")
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdout is not None
    process.stdout.close()


def has_broker() -> bool:
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is not None
