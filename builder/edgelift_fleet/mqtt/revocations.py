"""Certificates that a broker takes no more: its list of them, kept while it runs, and an end to sessions that stand.

A broker reads the list for newcomers alone (mosquitto checks nobody again who is in). So a session that stands is taken
over: whoever comes under the same name ends it, by MQTT's own rule (3.1.1, [MQTT-3.1.4-2]), on any broker; the authority
can make itself a certificate of any name. It leaves at once, and who was ended doesn't come back: the list is read first.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edgelift_contract.errors import EdgeliftError
from edgelift_fleet.files import disk_errors, write_atomically
from edgelift_fleet.identity.identities import Identities

log = logging.getLogger(__name__)

#: How long a device that floods stays out, seconds.
SHUT_OUT_S = 30.0
#: mosquitto forgets a signal that comes while it reads its files: it is told so often, so far apart in seconds.
_TIMES, _APART_S = 3, 0.4
#: How long a takeover may take, seconds.
_TAKEOVER_S = 3.0


class Revocations:
    """One broker's list. A context: kept up to date inside the block. Safe to use from several threads."""

    def __init__(
        self, identities: Identities, path: Path, *, tell: Callable[[], None], end: Callable[[str], None]
    ) -> None:
        """Bind.

        Args:
            identities: whose devices.
            path: of the list.
            tell: has the broker read it again.
            end: ends a device's session that stands.
        """
        self._identities, self._path, self._tell, self._end = identities, path, tell, end
        self._changed = threading.Condition()
        self._gone: set[str] = set()
        self._out: dict[str, float] = {}
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="revocations", daemon=True)

    def __enter__(self) -> Revocations:
        self.write()
        self._thread.start()
        self._identities.known.subscribe(self.revoked)
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(_TAKEOVER_S + 1)

    def revoked(self, devices: Collection[str]) -> None:
        """Certificates of these were taken back."""
        with self._changed:
            self._gone |= set(devices)
            self._changed.notify_all()

    def shut_out(self, device: str) -> None:
        """Keep a device out for `SHUT_OUT_S`, and end its session; returns at once."""
        with self._changed:
            self._out[device] = time.monotonic() + SHUT_OUT_S
            self._gone.add(device)
            self._changed.notify_all()

    def write(self) -> None:
        """Write the list as it should stand. Raises EdgeliftError: the database's, the disk's."""
        with self._changed:
            out = list(self._out)
        data = self._identities.revocations(out)
        with disk_errors("the broker's list of certificates that were taken back"):
            write_atomically(self._path, data, mode=0o600)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stopping and not self._gone and not self._let_in():
                    self._changed.wait(1.0 if self._out else None)
                if self._stopping:
                    return
                gone, self._gone = self._gone, set()
            try:
                self._follow(gone)
            except EdgeliftError as error:
                log.warning("the broker was not told who is out: %s", error)
                with self._changed:
                    self._gone |= gone
                    self._changed.wait(_APART_S)

    def _let_in(self) -> bool:
        now = time.monotonic()
        back = [device for device, until in self._out.items() if until <= now]
        for device in back:
            del self._out[device]
        return bool(back)

    def _follow(self, gone: Iterable[str]) -> None:
        self.write()
        for _ in range(_TIMES):
            self._tell()
            time.sleep(_APART_S)
        for device in gone:
            self._end(device)


def take_over(host: str, port: int, device: str, tls: ssl.SSLContext) -> bool:
    """Come to a broker under a device's name, which ends its session there, and leave; returns whether it was let in."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=device, clean_session=True)
    client.tls_set_context(tls)
    came = threading.Event()
    client.on_connect = lambda *_: came.set()
    client.connect_timeout = _TAKEOVER_S
    try:
        client.connect(host, port, keepalive=10)
        client.loop_start()
        return came.wait(_TAKEOVER_S)
    except OSError as error:
        log.warning("the session of %s at the broker was not ended: %s", device, error)
        return False
    finally:
        client.disconnect()
        client.loop_stop()
