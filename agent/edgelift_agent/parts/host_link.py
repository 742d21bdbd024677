"""The way to the host and back: enrolment, assignments, reports, telemetry, blobs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from edgelift_agent.config import Config
from edgelift_agent.identity.identity import DeviceIdentity, Way
from edgelift_agent.link.http import HttpTransport
from edgelift_agent.link.link import Link
from edgelift_agent.link.mqtt import MqttTransport
from edgelift_agent.link.telling import Telling
from edgelift_agent.link.token import Token
from edgelift_agent.link.uplink import Uplink
from edgelift_agent.parts.bundles import Bundles
from edgelift_agent.parts.trust import Trust
from edgelift_agent.system.backoff import delays
from edgelift_agent.system.clock import Clock
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.telemetry.queue import TelemetryQueue
from edgelift_contract import __version__
from edgelift_contract.enrol import BrokerAccess, EnrolReply, EnrolRequest
from edgelift_contract.fitting import fit
from edgelift_contract.report import DeviceFacts, Report, dump_report

log = logging.getLogger(__name__)


class Voice(Protocol):
    """What the link asks of the agent that it speaks for."""

    @property
    def epoch(self) -> str:
        """Of this process, for presence."""

    def facts(self) -> DeviceFacts:
        """The machine as it is now."""

    def report(self, sequence: int) -> Report:
        """The device's state; on the worker's thread."""


def broker_by(way: Way | None, offered: BrokerAccess) -> BrokerAccess | None:
    """The broker that the host offers; None for one in the clear, where this device has a certificate to be known by."""
    if way is None or offered.tls:
        return offered
    log.warning("the broker speaks no TLS, and this device has a certificate: HTTPS carries everything")
    return None


class HostLink:
    """The link, bound to one agent.

    Attributes:
        http: also where blobs come from.
        link, uplink: the doorbell, and what is sent.
        telling: when the host is told which assignment is held.
        bundles: brought when the host asks for them.
    """

    def __init__(
        self,
        config: Config,
        token: Token,
        queue: TelemetryQueue,
        clock: Clock,
        voice: Voice,
        post: Callable[[Callable[[], None]], None],
        make_bundle: Callable[[str], bytes],
        on_bundle_brought: Callable[[str], None],
        trust: Trust,
        identity: DeviceIdentity,
        degraded: Degraded,
    ) -> None:
        """Bind; nothing is sent before `link.start`."""
        self._config, self._voice, self._trust, self._reports = config, voice, trust, 0
        self._identity, self._degraded = identity, degraded
        host = config.host
        self.http = HttpTransport(
            host.url, token, config.device, timeout_s=host.timeout_s, on_refused=token.refused,
            on_bundle=lambda bundle: self.bundles.asked(bundle), way=identity.way,
        )  # fmt: skip
        self.bundles = Bundles(make_bundle, self.http.send_bundle, self.retry_delays, on_bundle_brought)
        self.telling = Telling(clock, self.retry_delays)
        self.link = Link(
            self.http,
            self._introduce,
            self._make_mqtt,
            device=config.device,
            poll_interval_s=host.poll_interval_s,
            retry_delays=self.retry_delays,
            on_duplicate=self._note_duplicate,
            telling=self.telling,
            bundle_heard=lambda: self.bundles.heard,
            on_skew=self._note_skew,
            trust=trust,
            identity=identity,
        )
        self.uplink = Uplink(
            self.link,
            queue,
            clock,
            device=config.device,
            make_report=self._make_report,
            post=post,
            retry_delays=self.retry_delays,
        )

    def retry_delays(self) -> Iterator[float]:
        """Delays between tries of whatever the link failed at, seconds."""
        return delays(self._config.update.retry_first_s, self._config.update.retry_cap_s)

    def _introduce(self) -> EnrolRequest:
        request = EnrolRequest(
            schema=EnrolRequest.SCHEMA,
            device=self._config.device,
            facts=self._voice.facts(),
            tags=self._config.tags,
            agent_version=__version__,
        )
        return msgspec.structs.replace(fit(request), csr=self._identity.request())

    def _make_mqtt(self, reply: EnrolReply) -> MqttTransport | None:
        host = self._config.host
        if reply.broker is None or host.transport == "http":
            return None
        way = self._identity.way()
        broker = broker_by(way, reply.broker)
        if broker is None:
            return None
        made = MqttTransport(
            broker,
            self._config.device,
            self._voice.epoch,
            timeout_s=host.timeout_s,
            keepalive_s=host.mqtt_keepalive_s,
            tls=way.tls if way is not None and not broker.password else None,
        )
        made.on_bundle = self.bundles.asked
        return made

    def _make_report(self) -> bytes:
        self._reports += 1
        report = self._voice.report(self._reports)
        if not self.telling.may_tell:
            report = msgspec.structs.replace(report, assignment="")
        if self._trust.asks_by_report:
            report = msgspec.structs.replace(report, asks_fresh=True)
        return dump_report(report)

    def _note_duplicate(self, begins: bool) -> None:
        if begins:
            text = f"Another device speaks as {self._config.device!r}: a cloned card, or one id given twice."
            self._degraded.begin("identity", "duplicate-device", text)
        else:
            self._degraded.end("identity")

    def _note_skew(self, text: str) -> None:
        if text:
            self._degraded.begin("host", "version-skew", text)
        else:
            self._degraded.end("host")

    def tell_held(self) -> None:
        """Report which assignment is held, where that was kept back for a while."""
        self.telling.told()
        self.uplink.want_report()

    def close(self) -> None:
        """Wait for what is being sent, then disconnect; the rest stays on disk."""
        self.bundles.stop()
        self.uplink.flush()
        self.link.stop()
