"""Everything between a request and a model: slots, leases, latency, the inference server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelift_agent.config import ServeConfig
from edgelift_agent.serving.http import InferenceApp
from edgelift_agent.serving.inference import Inference
from edgelift_agent.serving.metrics import serving_families
from edgelift_agent.serving.reaper import Reaper
from edgelift_agent.serving.server import Server
from edgelift_agent.serving.shared_memory import SharedMemory
from edgelift_agent.serving.slots import Slots
from edgelift_agent.system.clock import Clock
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.disk import Disk
from edgelift_agent.system.sockets import is_here
from edgelift_agent.telemetry.latency import LatencyRecorder
from edgelift_contract.errors import DeviceError
from edgelift_contract.tally import Tally

if TYPE_CHECKING:
    from prometheus_client import Metric

#: The part that suffers when `serve.unix_socket` can't be opened.
UNIX_SOCKET = "unix-socket"
#: The part that suffers while the machine lacks the address `serve.host`, as before its network is up.
ADDRESS = "serve-address"


class Serving:
    """The parts that answer, wired together.

    Attributes:
        slots, reaper, recorder: what serves, what is on its way out, what was measured.
        server: the inference server.
    """

    def __init__(
        self,
        config: ServeConfig,
        disk: Disk,
        clock: Clock,
        degraded: Degraded,
        on_order: Callable[..., Any],
    ) -> None:
        """Bind the ports; nothing is answered before `start`. A UNIX socket that can't be had is no obstacle.

        Raises:
            DeviceError: `port-in-use` or `bad-config`.
        """
        self.slots, self.reaper, self._refused = Slots(), Reaper(), Tally()
        self.recorder = LatencyRecorder(clock.now(), clock.now)
        # A client on another machine has no memory to share with this one.
        regions = SharedMemory() if config.host in ("127.0.0.1", "::1", "localhost") else None
        self._inference = Inference(
            self.slots, self.recorder, workers=config.workers, limit=config.max_pending, regions=regions
        )
        self.server = Server(
            InferenceApp(
                self._inference, max_body_bytes=config.max_body_bytes, on_order=on_order, refused=self._refused
            ),
            host=config.host,
            port=config.port,
            unix_socket=Path(config.unix_socket) if config.unix_socket else None,
            disk=disk,
            keep_alive_s=config.keep_alive_s,
            max_connections=config.max_connections,
            request_timeout_s=config.request_timeout_s,
            answer_timeout_s=config.request_timeout_s,
        )
        self._drain_timeout_s, self._degraded, self._host = config.drain_timeout_s, degraded, config.host
        self.look_again()

    def start(self) -> None:
        """Begin to answer."""
        self.server.start()

    def look_again(self) -> None:
        """See whether the address is there, and try to have a missing UNIX socket; to be called now and then."""
        if is_here(self._host):
            self._degraded.end(ADDRESS)
        else:
            text = f"Nobody can ask for inference: this machine has no address {self._host} now (serve.host)."
            self._degraded.begin(ADDRESS, "bad-config", text)
        try:
            self.server.open_unix()
        except DeviceError as error:
            self._degraded.begin(UNIX_SOCKET, error.code, str(error))
        else:
            self._degraded.end(UNIX_SOCKET)

    def metrics(self) -> Iterator[Metric]:
        """What was measured here, as families of `prometheus_client`."""
        return serving_families(self.slots, self.recorder, self._inference.pending, self._refused.counts())

    def stop(self) -> None:
        """Take no more requests."""
        self.server.stop(self._drain_timeout_s)

    def close(self) -> None:
        """End the threads, after the server has stopped."""
        self._inference.close()
        self.reaper.stop()
