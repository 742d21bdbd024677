"""The composition root: configuration in, parts built and wired, the worker run. Nothing else builds objects."""

from __future__ import annotations

import logging
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgelift_agent.admin import AdminServer
from edgelift_agent.artifact.loading import Loader
from edgelift_agent.artifact.preflight import Preflight
from edgelift_agent.artifact.store import Store
from edgelift_agent.config import Config, read_token
from edgelift_agent.link.http import HttpTransport
from edgelift_agent.link.link import Link
from edgelift_agent.link.mqtt import MqttTransport
from edgelift_agent.link.uplink import Uplink
from edgelift_agent.ports import Runtime
from edgelift_agent.runtime import all_runtimes, available
from edgelift_agent.serving.extensions import prometheus
from edgelift_agent.serving.http import InferenceApp
from edgelift_agent.serving.inference import Inference
from edgelift_agent.serving.reaper import Reaper
from edgelift_agent.serving.server import Server
from edgelift_agent.serving.slots import Slots
from edgelift_agent.system import systemd
from edgelift_agent.system.backoff import delays
from edgelift_agent.system.board import Board
from edgelift_agent.system.clock import Clock, SystemClock
from edgelift_agent.system.disk import Disk
from edgelift_agent.system.health import Health, boot_id
from edgelift_agent.system.memory import limit_arenas, settle
from edgelift_agent.system.sockets import bind_admin, bind_tcp
from edgelift_agent.telemetry.latency import LatencyRecorder
from edgelift_agent.telemetry.outbox import Outbox
from edgelift_agent.telemetry.windows import Telemetry
from edgelift_agent.update.by_hand import ByHand
from edgelift_agent.update.journal import Journal
from edgelift_agent.update.recovery import Recovery
from edgelift_agent.update.reports import make_report
from edgelift_agent.update.steps import Steps
from edgelift_agent.update.updates import Updates
from edgelift_agent.worker import Worker, settled, take_assignment
from edgelift_contract import codec
from edgelift_contract.enrol import EnrolReply, EnrolRequest
from edgelift_contract.errors import DeviceError
from edgelift_contract.hardware import these_kernels, this_machine
from edgelift_contract.message_types import prepare_message_types
from edgelift_contract.report import DeviceFacts
from edgelift_contract.telemetry import DeviceEvent

log = logging.getLogger(__name__)

#: A process that lived this long did not die of what it serves, seconds.
STABLE_AFTER_S = 60.0
#: How often to look whether the processor is throttled, where the board tells, seconds.
THROTTLE_SAMPLE_S = 10.0


class Agent:
    """The whole agent, built and not yet started."""

    def __init__(
        self,
        config: Config,
        *,
        disk: Disk | None = None,
        runtimes: dict[str, Runtime] | None = None,
        preflight_module: str = "edgelift_agent.artifact.preflight_child",
        clock: Clock | None = None,
        board: Board | None = None,
    ) -> None:
        """Build everything and bind the ports; nothing is served or sent yet.

        Raises:
            DeviceError: `bad-config`, `port-in-use`, `already-running`, `unsupported-platform` or the disk's.
        """
        prepare_message_types()  # before the first thread
        self.config = config
        token = read_token(config)
        self.clock: Clock = clock or SystemClock()
        disk = disk or Disk()
        state_dir = Path(config.state_dir)
        disk.make_folder(state_dir)
        self._lock = disk.lock(state_dir)
        kernels = these_kernels()
        runtimes = runtimes or all_runtimes()
        self._health = Health(this_machine(), state_dir, board or Board())
        self._runtimes = available(runtimes)
        self.journal = Journal(state_dir / "state.db", disk)
        self.outbox = Outbox(self.journal.connection, self.journal.path, disk)
        self.store = Store(state_dir, disk)
        self.slots = Slots()
        self.reaper = Reaper()
        self.recorder = LatencyRecorder(self.clock.now(), self.clock.now)
        self.worker = Worker(self.clock)
        self.http = HttpTransport(config.host.url, token, config.device, timeout_s=config.host.timeout_s)
        self._loader = Loader(self.store, runtimes, kernels)
        steps = Steps(
            store=self.store,
            source=self.http,
            loader=self._loader,
            preflight=Preflight(kernels, timeout_s=config.update.preflight_timeout_s, module=preflight_module),
            slots=self.slots,
            reaper=self.reaper,
            recorder=self.recorder,
            facts=self.facts,
            clock=self.clock,
            reserve_bytes=config.update.disk_reserve_bytes,
            memory_bytes=config.update.memory_available_bytes,
        )
        self.updates = Updates(
            config.device,
            self.journal,
            steps,
            self.clock,
            pool=self.worker.pool,
            post=self.worker.post,
            outbox=self.outbox,
            retry_delays=self._retry_delays,
        )
        self.recovery = Recovery(self.updates, self.journal, steps, self.clock)
        self.by_hand = ByHand(self.updates, self.journal, steps, self.clock)
        self.inference = Inference(
            self.slots, self.recorder, workers=config.serve.workers, limit=config.serve.max_pending
        )
        socket_path = Path(config.serve.unix_socket) if config.serve.unix_socket else None
        self.server = Server(
            InferenceApp(
                self.inference,
                max_body_bytes=config.serve.max_body_bytes,
                on_order=lambda *order: self._on_worker(lambda: self.by_hand.order(*order)),
            ),
            host=config.serve.host,
            port=config.serve.port,
            unix_socket=socket_path,
            disk=disk,
        )
        self.admin = AdminServer()
        self._admin_tcp = bind_tcp("127.0.0.1", config.serve.admin_port, 16)
        self._admin_unix = bind_admin(admin_socket(state_dir), 16, disk)
        self._reports = 0
        self.epoch = ""
        self._wire_link()

    def _wire_link(self) -> None:
        config = self.config
        self.link = Link(
            self.http,
            self._introduce,
            self._make_mqtt,
            device=config.device,
            poll_interval_s=config.host.poll_interval_s,
            retry_delays=self._retry_delays,
            on_duplicate=self._note_duplicate,
        )
        self.uplink = Uplink(
            self.link,
            self.outbox,
            self.clock,
            device=config.device,
            epoch=lambda: self.journal.meta.outbox,
            make_report=self._report,
            post=self.worker.post,
            retry_delays=self._retry_delays,
        )
        self.telemetry = Telemetry(
            self.recorder,
            self.outbox,
            self.clock,
            config.telemetry,
            gauges=self._health.gauges,
            wanted=self.uplink.want_batch,
            device=config.device,
        )

    def facts(self) -> DeviceFacts:
        """The machine as it is now."""
        return self._health.facts(self._runtimes)

    def _introduce(self) -> EnrolRequest:
        return EnrolRequest(
            schema=EnrolRequest.SCHEMA, device=self.config.device, facts=self.facts(), tags=self.config.tags
        )

    def _make_mqtt(self, reply: EnrolReply) -> MqttTransport | None:
        if reply.broker is None or self.config.host.transport == "http":
            return None
        host = self.config.host
        return MqttTransport(
            reply.broker,
            self.config.device,
            self.epoch,
            timeout_s=host.timeout_s,
            keepalive_s=host.mqtt_keepalive_s,
        )

    def _retry_delays(self) -> Iterator[float]:
        return delays(self.config.update.retry_first_s, self.config.update.retry_cap_s)

    @staticmethod
    def _note_duplicate(begins: bool) -> None:
        if begins:
            log.error("another device speaks under this one's id: a cloned card, or one id given twice")
        else:
            log.warning("the other device of this one's id is gone")

    def _report(self) -> bytes:
        self._reports += 1
        return codec.canonical_json(self.report(self._reports))

    def report(self, sequence: int = 0) -> Any:
        """The device's state; for the host and for `status`."""
        return make_report(
            self.journal,
            self.slots,
            device=self.config.device,
            epoch=self.epoch,
            sequence=sequence,
            at=self.clock.now(),
            facts=self.facts(),
            tags=self.config.tags,
            address=self.http.address,
        )

    def run(self, *, once: bool = False, signals: bool = True, started: threading.Event | None = None) -> None:
        """Serve until `worker.stop()`, or SIGTERM and SIGINT where `signals` may be taken over.

        Args:
            once: end when nothing is left to update.
            signals: install handlers; only the main thread can.
            started: set once requests are taken.
        """
        if signals:
            signal.signal(signal.SIGTERM, lambda *_: self.worker.stop())
            signal.signal(signal.SIGINT, lambda *_: self.worker.stop())
            self._loader.on_first_load = settle  # the process is ours
            settle()
        limit_arenas()
        self._start()
        if started is not None:
            started.set()
        try:
            self.worker.run(self.updates, until=self._once_done if once else lambda: False)
        finally:
            self._stop()

    def _start(self) -> None:
        self.recovery.start()
        # The last part tells two devices apart that were cloned from one card, also within one boot.
        self.epoch = f"{boot_id() or 'boot'}-{self.journal.meta.starts}-{secrets.token_hex(3)}"
        self.http.epoch = self.epoch
        self.outbox.add(
            [DeviceEvent(at=self.clock.now(), kind="agent-started", message=f"start {self.journal.meta.starts}")]
        )
        self.server.start()
        self._start_admin()
        self.worker.on_change = self._changed
        self._start_timers()
        self.link.start(
            lambda data: self.worker.post(lambda: self._assigned(data)),
            lambda: self.worker.post(self.uplink.connected),
        )
        if self.journal.meta.assignment:
            self.link.seen(self.journal.meta.revision_seen, self.journal.meta.assignment)
        systemd.notify("READY=1")
        log.info("serving on http://%s:%d device=%s", self.config.serve.host, self.server.port, self.config.device)

    def _start_timers(self) -> None:
        worker = self.worker
        windows = worker.every(self.telemetry.interval_s, self.telemetry.close_window)
        self._windows_timer = windows
        worker.when(self.uplink.due_in_s, self.uplink.push)
        self._sample_throttling()
        if self._health.tells_throttling:
            worker.every(lambda: THROTTLE_SAMPLE_S, self._sample_throttling)
        stable = worker.every(lambda: STABLE_AFTER_S, self.recovery.mark_stable)
        stable.every_s = lambda: 86400.0
        beat = systemd.watchdog_interval_s()
        if beat is not None:
            worker.every(lambda: beat, lambda: systemd.notify("WATCHDOG=1"))

    def _sample_throttling(self) -> None:
        now = self._health.throttled()
        if now != self.recorder.throttled:
            self.recorder.throttled = now
            kind, text = (
                ("throttled", "The processor is slowed down.") if now else ("unthrottled", "Full speed again.")
            )
            self.outbox.add([DeviceEvent(at=self.clock.now(), kind=kind, message=text)])
            self.uplink.want_batch()

    def _start_admin(self) -> None:
        on_worker = self._on_worker
        self.admin.serve(
            self._admin_unix,
            {
                "GET /status": lambda _: on_worker(self.status),
                "POST /rollback": lambda a: on_worker(lambda: self.by_hand.roll_back(str(a.get("slot", "")))),
                "POST /pin": lambda a: on_worker(lambda: self.by_hand.pin(str(a.get("slot", "")), pinned=True)),
                "POST /unpin": lambda a: on_worker(lambda: self.by_hand.pin(str(a.get("slot", "")), pinned=False)),
            },
        )
        self.admin.serve(
            self._admin_tcp, {"GET /health": lambda _: {"live": True}, "GET /metrics": lambda _: self._metrics()}
        )

    def _metrics(self) -> str:
        return prometheus(self.slots, self.recorder, self._health.gauges(), self.inference.pending)

    def _on_worker(self, action: Callable[[], Any]) -> Any:
        """Run `action` on the worker's thread and wait for what it gives."""
        done = threading.Event()
        outcome: dict[str, Any] = {}

        def run() -> None:
            try:
                outcome["value"] = action()
            except Exception as error:  # noqa: BLE001 - raised again on the thread that asked
                outcome["error"] = error
            done.set()

        self.worker.post(run)
        if not done.wait(timeout=20):
            raise DeviceError("busy", "The agent is busy and did not answer in time.")
        if "error" in outcome:
            raise outcome["error"]
        return {"message": outcome["value"]} if isinstance(outcome["value"], str) else outcome["value"]

    def status(self) -> Any:
        """What `edgelift-agent status` shows."""
        return {
            "report": self.report(),
            "transport": self.link.transport,
            "waiting_items": self.outbox.waiting(),
            "port": self.server.port,
            "admin_port": self._admin_tcp.getsockname()[1],
            "retired_generations": self.reaper.pending,
        }

    def _assigned(self, data: bytes) -> None:
        take_assignment(self.updates, data)
        if self.journal.meta.assignment:
            self.link.seen(self.journal.meta.revision_seen, self.journal.meta.assignment)

    def _changed(self) -> None:
        self.uplink.want_report()
        if any(update.state == "idle" for update in self.updates.rows()):
            self.uplink.want_batch()
        due = self.clock.monotonic() + self.telemetry.interval_s()
        self._windows_timer.due = min(self._windows_timer.due, due)

    def _once_done(self) -> bool:
        asked = self.link.enrolled.is_set() and self.journal.meta.revision_seen > 0
        return asked and settled(self.updates) and self.uplink.idle

    def _stop(self) -> None:
        systemd.notify("STOPPING=1")
        log.info("stopping")
        self.server.stop()
        self.admin.stop()
        self.recovery.stop()
        self.worker.close()
        self.telemetry.close_window()
        self.uplink.flush()
        self.link.stop()
        self.inference.close()
        self.reaper.stop()
        self.journal.close()


def admin_socket(state_dir: Path) -> Path:
    """Where the agent of a state folder listens for its administrator."""
    return state_dir / "run" / "admin.sock"
