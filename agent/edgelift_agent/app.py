"""The composition root: configuration in, parts built and wired, the worker run. Nothing else builds objects."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from edgelift_agent.artifact.loading import Loader
from edgelift_agent.config import Config
from edgelift_agent.identity.identity import DeviceIdentity
from edgelift_agent.identity.kept import IdentityFiles
from edgelift_agent.identity.metrics_tls import MetricsTls, is_admin_tls
from edgelift_agent.link.token import Token
from edgelift_agent.parts.administration import Administration
from edgelift_agent.parts.bundle_files import BundleFiles
from edgelift_agent.parts.events import Events
from edgelift_agent.parts.host_link import HostLink
from edgelift_agent.parts.importing import Importing
from edgelift_agent.parts.metrics import AgentMetrics, Sources
from edgelift_agent.parts.self_examination import examine_self
from edgelift_agent.parts.serving import Serving
from edgelift_agent.parts.state_folder import StateFolder
from edgelift_agent.parts.this_machine import ThisMachine
from edgelift_agent.parts.trust import Trust
from edgelift_agent.parts.updating import make_updater
from edgelift_agent.parts.upkeep import Upkeep
from edgelift_agent.ports import Opened, Runtime
from edgelift_agent.system import systemd
from edgelift_agent.system.board import Board
from edgelift_agent.system.clock import Clock, SystemClock
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.disk import Disk
from edgelift_agent.system.health import boot_id
from edgelift_agent.system.memory import limit_arenas, settle
from edgelift_agent.system.recent_log import RecentLog
from edgelift_agent.telemetry.windows import Telemetry
from edgelift_agent.worker import Worker
from edgelift_contract.errors import DeviceError, EdgeliftError
from edgelift_contract.message_types import prepare_message_types
from edgelift_contract.report import DeviceFacts, Report

log = logging.getLogger(__name__)

#: How often to look after what could not be opened or read, seconds.
LOOK_AGAIN_S = 10.0
#: A candidate is tried with what the device has left over: requests and programs beside the agent come first.
PREFLIGHT_NICE = 19
#: How long an order or a question may wait for the worker, seconds.
ANSWER_WITHIN_S = 20.0
#: How long a scrape waits for it: what it doesn't say in time is left out, seconds.
SCRAPE_WITHIN_S = 2.0


class Agent:
    """The whole agent, built and not yet started."""

    def __init__(
        self,
        config: Config,
        *,
        disk: Disk | None = None,
        runtimes: dict[str, Runtime] | None = None,
        preflight_module: str = "edgelift_agent.artifact.preflight_child",
        preflight_nice: int = PREFLIGHT_NICE,
        clock: Clock | None = None,
        board: Board | None = None,
        look_again_s: float = LOOK_AGAIN_S,
        recent_log: RecentLog | None = None,
    ) -> None:
        """Build everything and bind the ports; nothing is served or sent yet.

        What the disk refuses is no obstacle: the agent is then degraded, says so, and looks every `look_again_s`
        seconds whether it is over. `recent_log` is what the process logs; one of this agent's own where it is None.

        Raises:
            DeviceError: `bad-config`, `port-in-use`, `already-running` or `unsupported-platform`.
        """
        prepare_message_types()  # before the first thread
        self.config, self._look_again_s = config, look_again_s
        self.clock: Clock = clock or SystemClock()
        disk, state_dir = disk or Disk(), Path(config.state_dir)
        self.worker = Worker(self.clock)
        self.degraded = Degraded(self.clock)
        self._log = recent_log or RecentLog()
        if recent_log is None:  # from here on: what goes wrong while parts are built is told as well
            logging.getLogger("edgelift_agent").addHandler(self._log)
        kept = IdentityFiles(state_dir, disk)
        identity = DeviceIdentity(kept, self.degraded, config.device, config.host.url, lambda: self.trust.floor)
        self.identity = identity
        self._token = Token(config, self.degraded, needed=not identity.has_files)
        self.machine = ThisMachine(state_dir, self.degraded, runtimes, board)
        self.state = StateFolder(state_dir, disk, self.degraded)
        self.serving = Serving(config.serve, disk, self.clock, self.degraded, self._order)
        self.trust = Trust(
            state_dir, disk, self.clock, self.degraded, config.device, self.machine.facts, self.state.committed
        )
        self.host = HostLink(
            config, self._token, self.state.queue, self.clock, self, self.worker.post, self._make_bundle,
            self._note_bundle, self.trust, identity, self.degraded,
        )  # fmt: skip
        self.events = Events(self.state.queue, self.clock, self.worker.post, self.host.uplink.want_batch)
        self._loader = Loader(self.state.store, self.machine.runtimes, self.machine.kernels)
        self.updater = make_updater(
            config, self.state, self.trust, self.machine, self.host, self.serving, self._loader, self.worker,
            self.clock, self.degraded, self._committed,
            preflight_module=preflight_module, preflight_nice=preflight_nice,
        )  # fmt: skip
        self.telemetry = Telemetry(
            self.serving.recorder, self.state.queue, self.clock, config.telemetry,
            gauges=self.machine.health.gauges, wanted=self.host.uplink.want_batch, device=config.device,
        )  # fmt: skip
        self.upkeep = Upkeep(
            self.worker, self.clock, self.state, self.trust, self.serving, self.machine, self.host,
            self.telemetry, self.events,
        )  # fmt: skip
        reserve_bytes = config.update.disk_reserve_bytes
        self.importing = Importing(
            config.device, self.trust, self.state, reserve_bytes, self._imported, self.events.tell
        )
        self.admin = Administration(
            config, disk, self.degraded, self._on_worker, self.updater, self.importing, status=self.status,
            examine=lambda: examine_self(config, self._token, self.machine, self.degraded, identity),
            metrics=self._metrics().expose, tls=MetricsTls(kept),
        )  # fmt: skip

    def _metrics(self) -> AgentMetrics:
        return AgentMetrics(
            Sources(
                serving=self.serving.metrics, gauges=self.machine.health.gauges, degraded=self.degraded.reasons,
                outcomes=self.updater.outcomes.counts,
                waiting=self._waiting,
                certificate_ends=lambda: self.identity.ends, now=self.clock.now,
            )
        )  # fmt: skip

    def _waiting(self) -> int | None:
        try:
            found: int = self.worker.call(self.state.queue.waiting, SCRAPE_WITHIN_S)
        except EdgeliftError:
            return None
        return found

    @property
    def epoch(self) -> str:
        """Of this process, for reports and presence."""
        return self.updater.epoch

    def facts(self) -> DeviceFacts:
        """The machine as it is now."""
        return self.machine.facts()

    def report(self, sequence: int = 0) -> Report:
        """The device's state; for the host and for `status`."""
        made = self.updater.report(sequence, self.facts(), self.config.tags, self.host.http.address)
        return msgspec.structs.replace(made, nonce=self.trust.nonce)

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
            self.worker.run(self._tick, until=self._once_done if once else lambda: False)
        finally:
            self._stop()

    def _make_bundle(self, bundle: str) -> bytes:
        from edgelift_agent.doctor import examine  # late: seldom needed

        journal = self.state.journal
        sources = {
            "doctor.json": lambda: [vars(finding) for finding in examine(self.config)],
            "status.json": lambda: self._on_worker(self.status),
            "journal.json": lambda: self._on_worker(journal.told),
            "machine.json": lambda: {
                "facts": self.machine.facts(), "now": self.machine.health.gauges(), "epoch": self.epoch,
                "degraded": self.degraded.reasons(),
            },
        }  # fmt: skip
        secrets = (self._token.known, *self.host.link.secrets)
        return BundleFiles(self.config, self._log, sources, lambda: secrets, self.clock.now).make(bundle)

    def _note_bundle(self, bundle: str) -> None:
        self.events.tell("bundle-brought", f"The host asked for bundle {bundle} and has it.")

    def _start(self) -> None:
        self.machine.health.check_clock(self.clock.now())
        self.updater.start(boot_id() or "boot")
        self.host.http.epoch = self.epoch
        starts = self.updater.starts
        self.events.add("agent-started", f"start {starts}")
        self.serving.start()
        self.admin.start()
        self.upkeep.start(self._look_again_s, self.updater.mark_stable)
        self.worker.every(lambda: self._look_again_s, self.admin.look_again)
        if is_admin_tls(self.config.serve):
            self.identity.want_metrics()
        self.degraded.on_change = lambda: self.worker.post(self.host.uplink.want_report)
        self._tell_revision()  # before anything can come: what is held already is no news
        self.host.link.start(
            lambda opened: self.worker.post(lambda: self._assigned(opened)),
            lambda: self.worker.post(self.host.uplink.connected),
        )
        systemd.notify("READY=1")
        log.info(
            "serving on http://%s:%d device=%s",
            self.config.serve.host,
            self.serving.server.port,
            self.config.device,
        )

    def _on_worker(self, action: Callable[[], Any]) -> Any:
        value = self.worker.call(action, ANSWER_WITHIN_S)
        return {"message": value} if isinstance(value, str) else value

    def _order(self, *order: str) -> Any:
        return self._on_worker(lambda: self.updater.order(*order))

    def status(self) -> dict[str, Any]:
        """What `edgelift-agent status` shows."""
        return {
            "report": self.report(),
            "transport": self.host.link.transport,
            "waiting_items": self.state.queue.waiting(),
            "port": self.serving.server.port,
            "admin_port": self.admin.port,
            "retired_generations": self.serving.reaper.pending,
            "trust": self.trust.shown(),
            "identity": self.identity.shown(),
        }

    def _committed(self) -> None:
        # The host believes a commit by what it sees itself: the window goes with the report, not a minute later.
        self.worker.post(self.telemetry.close_window)

    def _assigned(self, opened: Opened) -> None:
        self.updater.accept(opened.assignment, opened.signed)
        self._tell_revision()

    def _imported(self, opened: Opened) -> None:
        self.worker.call(lambda: self._assigned(opened), ANSWER_WITHIN_S)
        self.worker.call(self.updater.hurry, ANSWER_WITHIN_S)

    def _tell_revision(self) -> None:
        if self.updater.seen is not None:
            self.host.link.seen(*self.updater.seen)

    def _tick(self) -> float | None:
        due_s = self.updater.tick()
        if self.updater.take_changed():
            self.host.uplink.want_report()
            if self.updater.ended:
                self.host.uplink.want_batch()
            self.upkeep.hasten_window()
        return due_s

    def _once_done(self) -> bool:
        asked = self.host.link.enrolled.is_set() and self.updater.seen is not None
        return asked and self.updater.settled and self.host.uplink.idle

    def _stop(self) -> None:
        systemd.notify("STOPPING=1")
        log.info("stopping")
        self.serving.stop()
        self.admin.stop()
        for last in (self.updater.stop, self.worker.close, self.telemetry.close_window, self.host.close):
            with suppress(DeviceError):
                last()
        self.serving.close()
        self.state.close()
        logging.getLogger("edgelift_agent").removeHandler(self._log)
