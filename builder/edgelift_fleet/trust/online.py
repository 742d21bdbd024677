"""The control plane's own key, and what it keeps fresh with it: the image repository's snapshot and timestamp.

The key is a file of the site for its owner alone, or comes from the environment, so that a server starts by itself after a
power cut. Who steals it can choose among what is genuine, and add nothing to it.
"""

from __future__ import annotations

import os
import stat
import time

from securesystemslib.signer import CryptoSigner
from sqlalchemy.orm import Session
from tuf.api.metadata import Metadata

from edgelift_contract.errors import DeviceError
from edgelift_contract.signed import IMAGE
from edgelift_fleet.files import disk_errors, write_atomically
from edgelift_fleet.site import Site
from edgelift_fleet.trust.image import DAYS, snapshot, timestamp
from edgelift_fleet.trust.key_files import new_private, signer_of
from edgelift_fleet.trust.store import Stored, newest, put

#: Stands in the file's place where it is set.
VARIABLE = "EDGELIFT_ONLINE_KEY"
SECRET = "online-key"  # noqa: S105 - a file's name


def online_signer(site: Site) -> CryptoSigner:
    """The signer of the control plane.

    Raises:
        DeviceError: `bad-config` when there is no key, others may read it, or it is none.
    """
    path = site.folder / "secrets" / SECRET
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        text = site.secret(SECRET)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise DeviceError("bad-config", f"Others may read the key {path}.", hint=f"chmod 600 {path}")
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise DeviceError(
            "bad-config", f"The control plane's key in {VARIABLE if os.environ.get(VARIABLE) else path} is none."
        )
    return signer_of(raw)


def create_online_key(site: Site) -> None:
    """Make the control plane's key, where there is none. Raises DeviceError: the disk's."""
    path = site.folder / "secrets" / SECRET
    if path.exists() or os.environ.get(VARIABLE):
        return
    with disk_errors(f"the key {path}"):
        write_atomically(path, new_private().hex().encode() + b"\n", mode=0o600)


def freshen(session: Session, signer: CryptoSigner, *, now: float | None = None) -> None:
    """Sign a snapshot of the image repository as it stands, and a timestamp. Inside a write transaction."""
    now = time.time() if now is None else now
    stored = newest(session, IMAGE)
    put(session, IMAGE, _fresh(stored, _next(stored), now, signer, DAYS["timestamp"]))


def lasting(session: Session, signer: CryptoSigner, *, days: float, now: float) -> dict[str, Stored]:
    """Snapshot and timestamp for what is carried, which hold for `days`. Inside a write transaction.

    What stands from then on is signed anew after them: a device that was brought them takes it as the newer one, and no
    device that asks is given anything that holds so long.
    """
    stored = newest(session, IMAGE)
    number = _next(stored)
    put(session, IMAGE, _fresh(stored, number + 1, now, signer, DAYS["timestamp"]))
    return _fresh(stored, number, now, signer, days)


def _next(stored: dict[str, Stored]) -> int:
    return max((stored[role].version for role in ("snapshot", "timestamp") if role in stored), default=0) + 1


def _fresh(
    stored: dict[str, Stored], number: int, now: float, signer: CryptoSigner, days: float
) -> dict[str, Stored]:
    versions = {role: one.version for role, one in stored.items() if role not in ("root", "snapshot", "timestamp")}
    return {
        "snapshot": Stored(number, snapshot(versions, number, now, signer, days=days)),
        "timestamp": Stored(number, timestamp(number, number, now, signer, days=days)),
    }


def is_stale(stored: dict[str, Stored], now: float) -> bool:
    """Is more than half of the time over for which the image repository's timestamp holds?"""
    if "timestamp" not in stored:
        return True
    until = Metadata.from_bytes(stored["timestamp"].body).signed.expires.timestamp()
    return until - now < DAYS["timestamp"] * 86400 / 2
