"""What the administrator may ask and order: the sockets for it, and what each route does."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgelift_agent.admin.server import AdminRequest, AdminServer, Text
from edgelift_agent.config import Config, is_loopback, read_admin_token
from edgelift_agent.identity.metrics_tls import PART, MetricsTls, is_admin_tls
from edgelift_agent.parts.importing import Importing
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.disk import Disk
from edgelift_agent.system.sockets import bind_admin, bind_tcp
from edgelift_agent.update.updater import Updater
from edgelift_contract.errors import DeviceError

log = logging.getLogger(__name__)

#: Runs a question or an order on the worker's thread, and gives its answer.
OnWorker = Callable[[Callable[[], Any]], Any]


class Administration:
    """The administrator's server, bound to one agent."""

    def __init__(
        self,
        config: Config,
        disk: Disk,
        degraded: Degraded,
        on_worker: OnWorker,
        updater: Updater,
        importing: Importing,
        *,
        status: Callable[[], Any],
        examine: Callable[[], Any],
        metrics: Callable[[str], tuple[bytes, bytes]],
        tls: MetricsTls,
    ) -> None:
        """Bind the sockets; nothing is answered before `start`. Inference goes on without what can't be bound.

        Args:
            config: of the agent.
            disk: for the socket's folder.
            degraded: told what can't be bound.
            on_worker: where orders are carried out.
            updater: carries them out.
            importing: takes what was carried here.
            status: on the worker's thread.
            examine: for `doctor`; from any thread, and may take some seconds.
            metrics: for what a scraper accepts, its body and media type; from any thread.
            tls: by which metrics are answered, where they are to be.
        """
        self._degraded, self._on_worker, self._updater, self._importing = degraded, on_worker, updater, importing
        self._status, self._examine, self._metrics = status, examine, metrics
        self._server, self._token, self._serve = AdminServer(), "", config.serve
        self._tls = tls if is_admin_tls(config.serve) else None
        self._tcp: socket.socket | None = None
        self._unix: list[socket.socket] = []
        try:
            self._unix = bind_admin(Path(config.state_dir) / "run" / "admin.sock", 16, disk)
            self._token = read_admin_token(config.serve.admin_token_file)
            self._tcp = bind_tcp(config.serve.admin_host, config.serve.admin_port, 16)
        except DeviceError as error:
            degraded.begin("admin", error.code, str(error))

    @property
    def port(self) -> int:
        """Of the metrics; 0 where it could not be bound."""
        return int(self._tcp.getsockname()[1]) if self._tcp is not None else 0

    def start(self) -> None:
        """Begin to answer.

        Raises:
            DeviceError: `internal` when the server did not come up, `no-memory`.
        """
        updater, on_worker = self._updater, self._on_worker
        if self._unix:
            self._server.add(
                self._unix,
                {
                    "GET /status": lambda _: on_worker(self._status),
                    "GET /doctor": lambda _: self._examine(),
                    "POST /import": lambda a: self._importing.take(Path(str(a.arguments.get("folder", "")))),
                    "POST /rollback": lambda a: on_worker(lambda: updater.roll_back(_slot(a))),
                    "POST /pin": lambda a: on_worker(lambda: updater.pin(_slot(a), pinned=True)),
                    "POST /unpin": lambda a: on_worker(lambda: updater.pin(_slot(a), pinned=False)),
                },
            )
        if self._tcp is not None:
            self._server.add(
                [self._tcp],
                {
                    "GET /health": lambda _: {"live": True, "degraded": self._degraded.reasons()},
                    "GET /metrics": lambda a: Text(*self._metrics(a.accept)),
                },
                token=self._token,
                tls=self._tls.context if self._tls is not None else None,
            )
            if self._tls is None and not is_loopback(self._serve.admin_host):
                log.warning("metrics are answered in the clear: whoever listens on the way reads the token")
        self._server.start()

    def look_again(self) -> None:
        """See whether metrics can be answered by TLS, where they are to be; to be called now and then."""
        if self._tls is None or self._tcp is None:
            return
        try:
            self._tls.check()
        except DeviceError as error:
            self._degraded.begin(PART, error.code, str(error))
        else:
            self._degraded.end(PART)

    def stop(self) -> None:
        """Take no more connections."""
        self._server.stop()


def _slot(asked: AdminRequest) -> str:
    return str(asked.arguments.get("slot", ""))
