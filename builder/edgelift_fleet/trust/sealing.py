"""What a broker retains for a device: signed for what the device asked last, as far as it has told that."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping

import msgspec
import sqlalchemy as sa

from edgelift_contract import codec
from edgelift_contract.errors import ContractError, EdgeliftError
from edgelift_contract.signed import ASSIGNMENT, DIRECTOR, IMAGE, Told, unpack_signed
from edgelift_fleet.db import Database, among
from edgelift_fleet.tables import DeviceRow
from edgelift_fleet.trust.handing import Handing
from edgelift_fleet.trust.store import version_of

log = logging.getLogger(__name__)

#: No larger message is published, bytes: agents take 64 KB, and brokers elsewhere 128 KB.
MAX_RETAINED_BYTES = 60 * 1024
#: What was signed longer ago is signed anew when the broker is asked what it retains, seconds.
_OLD_S = 3 * 86400.0


class _Timestamp(msgspec.Struct):
    signed: Told


class Sealing:
    """Seals assignments for a broker; see `mqtt.publisher.Seals`."""

    def __init__(self, db: Database, handing: Callable[[], Handing | None]) -> None:
        self._db, self._handing = db, handing

    def sealing(self, devices: Collection[str]) -> Callable[[str, bytes], bytes]:
        """Signs the assignments of these devices; for agents that ask for no signature, and where none is, as they are.

        One that can't be signed now, or is too large for a broker, is published unsigned: a device that takes nothing
        unsigned asks over HTTP then, and is told there what is wrong.
        """
        try:
            handing = self._handing()
            nonces = self._nonces(devices) if handing is not None else {}
        except EdgeliftError as error:
            log.warning("not signed for the broker devices=%d code=%s %s", len(devices), error.code, error)
            handing = None
        if handing is None:
            return lambda _, body: body
        return lambda device, body: self._sealed(handing, device, body, nonces.get(device, ""))

    @staticmethod
    def _sealed(handing: Handing, device: str, body: bytes, nonce: str) -> bytes:
        if not nonce:
            return body
        try:
            sealed = handing.hand(device, body, nonce)
        except EdgeliftError as error:
            log.warning("not signed for the broker device=%s code=%s %s", device, error.code, error)
            return body
        return sealed if len(sealed) <= MAX_RETAINED_BYTES else body

    def standing(self, wanted: Mapping[str, bytes], retained: Mapping[str, bytes]) -> set[str]:
        """Devices for which what is retained says what is wanted, answers what they asked last, and leads to the roots that
        stand: after a key was replaced it is signed anew.
        """
        signs = self._handing() is not None
        nonces, roots = (self._nonces(wanted), self._roots()) if signs else ({}, set())
        return {
            device
            for device, body in wanted.items()
            if _says(device, retained.get(device, b""), body, nonces.get(device, ""), roots)
        }

    def _roots(self) -> set[str]:
        with self._db.read() as session:
            return {f"{name}/{version_of(session, name, 'root')}.root.json" for name in (DIRECTOR, IMAGE)}

    def _nonces(self, devices: Iterable[str]) -> dict[str, str]:
        with self._db.read() as session:
            query = sa.select(DeviceRow.id, DeviceRow.nonce).where(among(session, DeviceRow.id, list(devices)))
            return {row[0]: row[1] for row in session.execute(query)}


def _says(device: str, retained: bytes, body: bytes, nonce: str, roots: set[str]) -> bool:
    if retained == body or not nonce:
        return retained == body and not nonce
    try:
        files = unpack_signed(retained, device=device).files
        data = files.get(f"{DIRECTOR}/timestamp.json", "").encode()
        told = codec.decode_json(data, _Timestamp, what="timestamp", limit_bytes=len(data)).signed
    except ContractError:
        return False
    fresh = told.nonce == nonce and abs(time.time() - told.issued_at) < _OLD_S and roots <= files.keys()
    return fresh and files.get(f"{DIRECTOR}/{ASSIGNMENT}", "").encode() == body
