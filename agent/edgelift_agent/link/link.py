"""The link: MQTT where the host has a broker, HTTP for the rest and whenever MQTT is down.

A lost notification costs one poll, never an update: while MQTT is connected the host is still asked over
HTTP now and then; while it is not, HTTP long poll is the doorbell.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator

from edgelift_agent.link.http import HttpTransport
from edgelift_agent.link.mqtt import MqttTransport
from edgelift_agent.system.backoff import delays
from edgelift_contract.enrol import EnrolReply, EnrolRequest
from edgelift_contract.errors import EdgeliftError, TransportError

log = logging.getLogger(__name__)


class Link:
    """The device's way to its host; see `ports.Host` and `ports.Doorbell`."""

    def __init__(
        self,
        http: HttpTransport,
        enrolment: Callable[[], EnrolRequest],
        make_mqtt: Callable[[EnrolReply], MqttTransport | None],
        *,
        poll_interval_s: float,
        retry_delays: Callable[[], Iterator[float]] = delays,
    ) -> None:
        """Bind; nothing is sent before `start`.

        Args:
            http: the host's API.
            enrolment: this device's introduction, made when it is sent.
            make_mqtt: the MQTT side for an enrolment's reply; None where there is none.
            poll_interval_s: how often to ask over HTTP while MQTT is connected.
            retry_delays: delays between tries, seconds.
        """
        self._http, self._enrolment, self._make_mqtt = http, enrolment, make_mqtt
        self._poll_interval_s, self._retry_delays = poll_interval_s, retry_delays
        self._mqtt: MqttTransport | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="doorbell", daemon=True)
        self._on_assignment: Callable[[bytes], None] = lambda _: None
        self._on_connected: Callable[[], None] = lambda: None
        self._revision: int | None = None
        self.enrolled = threading.Event()

    def start(
        self, on_assignment: Callable[[bytes], None], on_connected: Callable[[], None] = lambda: None
    ) -> None:
        """Begin; both callbacks come from other threads. `on_connected` asks for a fresh report."""
        self._on_assignment, self._on_connected = on_assignment, on_connected
        self._thread.start()

    def stop(self) -> None:
        """End. A long poll under way is left to its daemon thread."""
        self._stopping.set()
        if self._mqtt is not None:
            self._mqtt.stop()
        self._thread.join(timeout=0.5)

    @property
    def transport(self) -> str:
        """What carries messages now: `mqtt`, `http`, or `none` before enrolment."""
        if self._mqtt is not None and self._mqtt.connected.is_set():
            return "mqtt"
        return "http" if self.enrolled.is_set() else "none"

    def seen(self, revision: int) -> None:
        """Tell which assignment is known, so that it isn't sent again."""
        self._revision = revision

    def send_report(self, data: bytes) -> None:
        """See `ports.Host`."""
        self._send(lambda side: side.send_report(data))

    def send_batch(self, data: bytes) -> None:
        """See `ports.Host`."""
        self._send(lambda side: side.send_batch(data))

    def _send(self, call: Callable[[HttpTransport | MqttTransport], None]) -> None:
        if not self.enrolled.is_set():
            raise TransportError("unreachable", "The host has not been reached yet.")
        mqtt = self._mqtt
        if mqtt is not None and mqtt.connected.is_set():
            try:
                return call(mqtt)
            except TransportError as error:
                log.warning("MQTT failed (%s), using HTTP", error.code)
        return call(self._http)

    def _listen(self) -> None:
        waits = self._retry_delays()
        wait_s = 30.0
        while not self._stopping.is_set():
            try:
                if not self.enrolled.is_set():
                    wait_s = self._enrol()
                self._ask(wait_s)
                waits = self._retry_delays()
            except EdgeliftError as error:
                pause_s = next(waits)
                log.warning("host code=%s retry_in_s=%.1f %s", error.code, pause_s, error)
                if error.code == "not-found":
                    self.enrolled.clear()  # the host has forgotten us: introduce ourselves again
                self._stopping.wait(pause_s)

    def _enrol(self) -> float:
        reply = self._http.enrol(self._enrolment())
        if self._mqtt is None:
            self._mqtt = self._make_mqtt(reply)
            if self._mqtt is not None:
                self._mqtt.start(self._on_assignment, self._on_connected)
        self.enrolled.set()
        log.info("enrolled mqtt=%s", "yes" if self._mqtt else "no")
        self._on_connected()
        return reply.poll_wait_s

    def _ask(self, wait_s: float) -> None:
        mqtt = self._mqtt
        if mqtt is not None and mqtt.connected.wait(timeout=5.0):
            spread = random.uniform(0.8, 1.2)  # noqa: S311 - spreading load, not guarding a secret
            if self._stopping.wait(self._poll_interval_s * spread):
                return
            wait_s = 0.0
        data = self._http.poll(self._revision, wait_s)
        if data is not None:
            self._on_assignment(data)
            # Until the worker has judged it, don't ask for the same again in a tight circle.
            self._stopping.wait(0.2)
