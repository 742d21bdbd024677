"""The link: MQTT where the host has a broker, HTTP for the rest and whenever MQTT is down.

A lost notification costs one poll, never an update: while MQTT is connected the host is still asked over
HTTP now and then, and at once when MQTT ends or brings something unreadable; while it is not, HTTP long poll is
the doorbell. Whatever goes wrong with asking (no answer, a portal's, an assignment that can't be read or is older
than one seen) is a failed try: said once, then tried again after longer and longer delays.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from edgelift_agent.link.http import Calling, HttpTransport
from edgelift_agent.link.mqtt import MAX_PACKET_BYTES, MqttTransport
from edgelift_agent.link.telling import Telling
from edgelift_agent.ports import NotReachedYet, Opened
from edgelift_agent.system.backoff import after, delays
from edgelift_contract import __version__, codec
from edgelift_contract.assignment import parse_assignment
from edgelift_contract.enrol import BrokerAccess, EnrolReply, EnrolRequest
from edgelift_contract.errors import EdgeliftError, TransportError
from edgelift_contract.identity import Certified
from edgelift_contract.replies import ReportReply
from edgelift_contract.versions import check_versions

log = logging.getLogger(__name__)

#: How long the worker may take to note an assignment, seconds; its disk may refuse.
JUDGE_S = 5.0
#: Least time between two polls that brought nothing, seconds: a host that doesn't hold them must not be hammered.
MIN_POLL_S = 1.0
#: Most that a host may ask for a poll to be held, seconds.
MAX_POLL_S = 300.0


#: What has a device introduce itself again: the host has forgotten it, or takes its certificate no more.
_ANEW = frozenset({"not-found", "identity-expired"})
#: It does so once a day in any case, seconds: a certificate is renewed then.
_INTRODUCE_S = 86_400.0


class Trusting(Protocol):
    """Who judges what the host gives; `parts.trust` is it."""

    @property
    def nonce(self) -> str:
        """What is to be signed into the next assignment."""

    def learn(self, roots: Mapping[str, str]) -> None:
        """Trust these, where nobody is trusted yet."""

    def told(self, nonce: str) -> None:
        """The host has heard of this nonce."""

    def open(self, data: bytes) -> Opened:
        """The assignment in what came; raises EdgeliftError for one that is not to be taken."""

    def wants_roots(self) -> bool:
        """Is it to be asked once more whom to trust?"""

    def worth(self, data: bytes, held: str, limit_bytes: int) -> str:
        """Is what a broker retains to be opened (`open`), left alone (`known`), or asked for over HTTP (`ask`)?"""

    def asks_anew(self) -> bool:
        """Is a fresh signature to be asked for, though nothing may have changed?"""

    def ask_by_report(self) -> None:
        """Ask for it by a report, as HTTP could not be asked."""

    def rang_in_vain(self, error: EdgeliftError) -> None:
        """HTTP could not be asked for what a broker's doorbell stands for."""

    def answered(self) -> None:
        """HTTP could be asked."""


class Identifying(Protocol):
    """Who this device is to the host; `identity.DeviceIdentity` is it."""

    def want(self) -> None:
        """A new certificate is wanted."""

    def take(self, given: Certified, called: str) -> Calling | None:
        """A certificate has come: how the host is called by it; None when it was not asked for."""

    def settle(self) -> None:
        """It was called so: the certificate counts from now on."""


class Link:
    """The device's way to its host; see `ports.Host`."""

    def __init__(
        self,
        http: HttpTransport,
        enrolment: Callable[[], EnrolRequest],
        make_mqtt: Callable[[EnrolReply], MqttTransport | None],
        *,
        device: str,
        poll_interval_s: float,
        retry_delays: Callable[[], Iterator[float]] = delays,
        on_duplicate: Callable[[bool], None] = lambda _: None,
        telling: Telling,
        bundle_heard: Callable[[], str] = lambda: "",
        on_skew: Callable[[str], None] = lambda _: None,
        trust: Trusting,
        identity: Identifying | None = None,
    ) -> None:
        """Bind; nothing is sent before `start`.

        Args:
            http: the host's API.
            enrolment: this device's introduction, made when it is sent.
            make_mqtt: the MQTT side for an enrolment's reply; None where there is none.
            device: this device's id.
            poll_interval_s: how often to ask over HTTP while MQTT is connected.
            retry_delays: delays between tries, seconds.
            on_duplicate: told when the host begins or ceases to hear another device under this id.
            telling: when the host may be told which assignment is held.
            on_skew: told why the host and this agent don't work together; empty when they do.
            bundle_heard: the last bundle that the host said it wants; empty for none.
            trust: judges what the host gives.
            identity: who this device is to the host; None for one that has but a token.
        """
        self._http, self._enrolment, self._make_mqtt, self._device = http, enrolment, make_mqtt, device
        self._poll_interval_s, self._retry_delays = poll_interval_s, retry_delays
        self._on_duplicate, self._duplicate = on_duplicate, False
        self._telling, self._bundle_heard, self._on_skew = telling, bundle_heard, on_skew
        self._trust, self._identity = trust, identity
        self._mqtt: MqttTransport | None = None
        self._access: BrokerAccess | None = None
        self._stopping, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._listen, name="doorbell", daemon=True)
        self._on_assignment: Callable[[Opened], None] = lambda _: None
        self._on_connected: Callable[[], None] = lambda: None
        self._poll_wait_s = MIN_POLL_S
        self._judged = threading.Condition()
        self._revision: int | None = None
        self._held = ""
        self._echoed = False
        self._expected = 0
        self._introduce_at, self._called = 0.0, 0
        self._trouble: EdgeliftError | None = None
        self._rung = False
        self.enrolled = threading.Event()

    def start(
        self, on_assignment: Callable[[Opened], None], on_connected: Callable[[], None] = lambda: None
    ) -> None:
        """Begin; both callbacks come from other threads. `on_connected` asks for a fresh report."""
        self._on_assignment, self._on_connected = on_assignment, on_connected
        self._thread.start()

    def stop(self) -> None:
        """End. A long poll under way is left to its daemon thread."""
        self._stopping.set()
        self._wake.set()
        if self._mqtt is not None:
            self._mqtt.stop()
        self._thread.join(timeout=0.5)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What the host gave out that nobody else is to read."""
        return (self._access.password,) if self._access is not None else ()

    @property
    def transport(self) -> str:
        """What carries messages now: `mqtt`, `http`, or `none` before enrolment."""
        if self._mqtt is not None and self._mqtt.connected.is_set():
            return "mqtt"
        return "http" if self.enrolled.is_set() else "none"

    def seen(self, revision: int, data: bytes) -> None:
        """Tell which assignment is noted, so that it isn't sent again: its revision and its bytes."""
        with self._judged:
            before, now = (self._revision, self._held), (revision, codec.digest(data))
            self._revision, self._held = now
            if now != before:
                self._echoed = False
                self._telling.changed()
            self._judged.notify_all()

    def send_report(self, data: bytes) -> ReportReply | None:
        """See `ports.Host`."""
        reply = self._send(lambda side: side.send_report(data))
        if reply is not None and reply.duplicate != self._duplicate:
            self._duplicate = reply.duplicate
            self._on_duplicate(reply.duplicate)
        return reply

    def send_batch(self, data: bytes) -> None:
        """See `ports.Host`."""
        self._send(lambda side: side.send_batch(data))

    def _send(self, call: Callable[[HttpTransport | MqttTransport], ReportReply | None]) -> ReportReply | None:
        if not self.enrolled.is_set():
            raise NotReachedYet("unreachable", "The host has not been reached yet.")
        mqtt = self._mqtt
        if mqtt is not None and mqtt.connected.is_set():
            try:
                return call(mqtt)
            except TransportError as error:
                log.warning("MQTT failed (%s), using HTTP", error.code)
        return call(self._http)

    def _listen(self) -> None:
        waits, failing = self._retry_delays(), False
        while not self._stopping.is_set():
            try:
                self._ask(at_once=failing)
            except Exception as caught:  # noqa: BLE001 - the doorbell outlives whatever a host, or a fault here, does
                error = caught if isinstance(caught, EdgeliftError) else _fault(caught)
                pause_s = after(error, next(waits))
                log.warning("host code=%s retry_in_s=%.1f %s", error.code, pause_s, error)
                if error.code == "version-skew":
                    self._on_skew(str(error))
                if error.code == "identity-expired" and self._identity is not None:
                    self._identity.want()
                if error.code in _ANEW:
                    self.enrolled.clear()
                failing = True
                self._stopping.wait(pause_s)
            else:
                if failing:
                    log.info("the host is there again")
                    self._on_connected()
                waits, failing = self._retry_delays(), False

    def _ask(self, *, at_once: bool) -> None:
        """One round: enrol if need be, wait for what MQTT does if it is there, ask over HTTP."""
        is_due = self._trust.wants_roots() or time.monotonic() >= self._introduce_at
        is_due |= self._http.number != self._called  # it was enrolled again: the broker knows it by that, too
        if is_due or not self.enrolled.is_set():
            self._enrol()
        mqtt, wait_s = self._mqtt, self._poll_wait_s
        if mqtt is not None and mqtt.connected.is_set():
            spread = random.uniform(0.8, 1.2)  # noqa: S311 - spreading load, not guarding a secret
            if not at_once and self._wake.wait(self._poll_interval_s * spread):
                self._wake.clear()
                self._judge_heard()
                if mqtt.connected.is_set() and not self._rung:
                    return
            wait_s = 0.0
        if self._stopping.is_set():
            return
        self._poll(wait_s)

    def _poll(self, wait_s: float) -> None:
        """Ask over HTTP."""
        rung, self._rung = self._rung, False
        anew = self._trust.asks_anew()
        began = time.monotonic()
        known = (self._revision, self._held)
        tells = self._telling.may_tell and not self._echoed and not anew
        held = self._held if tells else ""
        nonce, revision = self._trust.nonce, None if anew else self._revision
        try:
            data = self._http.poll(revision, wait_s, held=held, bundle=self._bundle_heard(), nonce=nonce)
        except EdgeliftError as error:
            self._not_asked(error, rung=rung, anew=anew)
            raise
        self._trust.told(nonce)
        self._trust.answered()
        if data is not None:
            self._take(data)
            # A host that sends what is held, though told so, means another by it: only a new number can be news then.
            self._echoed = tells and (self._revision, self._held) == known
        elif time.monotonic() - began < (MIN_POLL_S if rung else min(MIN_POLL_S, wait_s)):
            self._stopping.wait(MIN_POLL_S)

    def _not_asked(self, error: EdgeliftError, *, rung: bool, anew: bool) -> None:
        if rung:
            self._trust.rang_in_vain(error)
        if anew:
            self._trust.ask_by_report()
            self._on_connected()

    def _enrol(self) -> None:
        reply = self._introduce()
        check_versions(self._device, __version__, reply.host_version)
        self._on_skew("")
        self._trust.learn(reply.roots)
        self._introduce_at = time.monotonic() + _INTRODUCE_S * random.uniform(0.9, 1.1)  # noqa: S311 - spreading load
        if self._mqtt is None or reply.broker != self._access or self._http.number != self._called:
            self._called = self._http.number
            old, self._mqtt = self._mqtt, None
            if old is not None:
                old.stop()
            made = self._make_mqtt(reply)
            if made is not None and self._starts(made):
                self._mqtt = made
            self._access = reply.broker
        self._poll_wait_s = max(MIN_POLL_S, min(reply.poll_wait_s, MAX_POLL_S))
        self.enrolled.set()
        log.info("enrolled mqtt=%s", "yes" if self._mqtt else "no")
        self._on_connected()

    def _introduce(self) -> EnrolReply:
        """Introduce this device, and ask for a certificate when the host offers one: from then on it is called by that."""
        reply = self._http.enrol(self._enrolment())
        if self._identity is None:
            return reply
        if reply.certify:
            self._identity.want()
            reply = self._http.enrol(self._enrolment())
        return reply if reply.identity is None else self._by_certificate(self._identity, reply, reply.identity)

    def _by_certificate(self, identity: Identifying, reply: EnrolReply, given: Certified) -> EnrolReply:
        """Try a new certificate: where it leads nowhere, as with a port that is closed on the way, the old way counts on."""
        try:
            way = identity.take(given, self._http.url)
            if way is None:
                return reply
            found = self._http.enrol_by(way, self._enrolment())
            identity.settle()
        except EdgeliftError as error:
            log.warning("the new certificate can't be used yet code=%s %s", error.code, error)
            return reply
        return found

    def _starts(self, mqtt: MqttTransport) -> bool:
        """A broker of which nothing can be made (its address, the library, its certificates) costs MQTT alone."""
        try:
            mqtt.start(self._heard, self._on_connected, self._wake.set)
        except Exception as error:  # noqa: BLE001 - HTTP carries everything, whatever the host says of its broker
            log.warning("MQTT can't be used (%s: %s); HTTP carries everything", type(error).__name__, error)
            return False
        return True

    def _take(self, data: bytes) -> None:
        """Hand an assignment on, and wait until it is noted: a disk that refuses must not have it sent in a circle.

        Raises:
            ContractError: it can't be read. TransportError: `older-assignment`, or `busy` when it was not noted.
        """
        self._on_assignment_of(data)
        self._await_judged()

    def _on_assignment_of(self, data: bytes) -> None:
        data, signed = self._trust.open(data)
        revision = parse_assignment(data, device=self._device).revision
        data = codec.recoded(data, what="assignment")
        with self._judged:
            known, held = self._revision, self._held
        if known is not None and (revision < known or (revision == known and codec.digest(data) != held)):
            # The host was put back to an older state. It must learn what this device has seen, to count beyond it.
            self._on_connected()
            raise TransportError(
                "older-assignment",
                f"The host's assignment has revision {revision}, but this device has seen {known} (was the host"
                " restored from a backup?); it is told so, and asked again.",
            )
        self._expected = revision
        self._on_assignment(Opened(data, signed))

    def _await_judged(self) -> None:
        def noted() -> bool:
            return self._stopping.is_set() or (self._revision is not None and self._revision >= self._expected)

        with self._judged:
            if not self._judged.wait_for(noted, JUDGE_S):
                raise TransportError("busy", "The assignment could not be noted yet; it is asked for again.")

    def _heard(self, data: bytes) -> None:
        """MQTT brought something; on paho's thread, so that only what can be read is handed on at once."""
        worth = self._trust.worth(data, self._held, MAX_PACKET_BYTES)
        if worth == "known":
            return
        try:
            if worth == "ask":
                self._rung = True
            else:
                self._on_assignment_of(data)
        except EdgeliftError as error:
            self._trouble = error
        self._wake.set()

    def _judge_heard(self) -> None:
        trouble, self._trouble = self._trouble, None
        if trouble is not None:
            raise trouble
        self._await_judged()


def _fault(error: Exception) -> TransportError:
    log.error("a fault in the doorbell", exc_info=error)
    return TransportError("internal", f"A fault in edgelift: {type(error).__name__}: {error}")
