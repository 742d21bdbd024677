"""A broker of the user's own that knows us by a certificate of the site's authority, and who is put out there.

Its list of certificates that hold no more is brought by whoever keeps it (`edgelift broker config`). Until then, and for a
session that stands, a device that was taken out is put out from here: what it sends is dropped, and whenever it is heard,
its session is taken over.
"""

from __future__ import annotations

import logging
import queue
import ssl
import threading
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from edgelift_contract.errors import EdgeliftError
from edgelift_fleet.identity.identities import Identities
from edgelift_fleet.mqtt.access import HOST_USER, PROBE_USER
from edgelift_fleet.mqtt.clients import BrokerAddress
from edgelift_fleet.mqtt.revocations import take_over

log = logging.getLogger(__name__)

#: One device's session is ended at most so often, seconds: what it sent before may come for a while.
_BETWEEN_S = 3.0


class ForeignBroker:
    """The broker, by certificates. A context: who is taken out is put out inside the block.

    Attributes:
        address: it, as the control plane.
        probe: it, as who asks whether newcomers are let in.
    """

    def __init__(self, identities: Identities, folder: Path, address: BrokerAddress) -> None:
        """Bind.

        Args:
            identities: whose authority makes our certificates and vouches for the broker.
            folder: where certificates lie for a moment.
            address: where it is.

        Raises:
            DeviceError: as `Identities.client`.
        """
        self._identities, self._folder = identities, folder
        self.address = replace(address, name=HOST_USER, context=self._context(HOST_USER))
        self.probe = replace(address, name=PROBE_USER, context=self._context(PROBE_USER))
        self._gone: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._ended: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, name="foreign-broker", daemon=True)

    def __enter__(self) -> ForeignBroker:
        self._thread.start()
        self._identities.known.subscribe(self._revoked)
        return self

    def __exit__(self, *_: object) -> None:
        self._gone.put("")
        self._thread.join(5)

    def renewed(self) -> None:
        """The server's certificate was renewed: so are ours, for the next connection. Raises EdgeliftError."""
        for one in (self.address, self.probe):
            assert one.context is not None
            self._identities.certify(one.context, one.name, self._folder)

    def admits(self, device: str, *, retained: bool) -> bool:
        """Is what comes from this device taken? One that was taken out is put out, unless the message is an old one."""
        if not self._identities.known.is_out(device):
            return True
        if not retained:
            self._gone.put(device)
        return False

    def _context(self, name: str) -> ssl.SSLContext:
        context = self._identities.client(name, self._folder)
        context.check_hostname = True
        return context

    def _revoked(self, devices: Collection[str]) -> None:
        for device in devices:
            self._gone.put(device)

    def _run(self) -> None:
        while device := self._gone.get():
            if time.monotonic() - self._ended.get(device, -_BETWEEN_S) < _BETWEEN_S:
                continue
            self._ended[device] = time.monotonic()
            try:
                let_in = take_over(self.address.host, self.address.port, device, self._context(device))
            except EdgeliftError as error:
                log.warning("the session of %s at the broker was not ended: %s", device, error)
                continue
            if let_in:
                log.warning("put out at the broker device=%s", device)
