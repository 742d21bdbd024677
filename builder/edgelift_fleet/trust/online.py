"""The control plane's own key, and what it keeps fresh with it: the image repository's snapshot and timestamp.

The key is a file of the site for its owner alone, or comes from the environment, so that a server starts by itself after a
power cut. Who steals it can choose among what is genuine, and add nothing to it.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Collection
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from sqlalchemy.orm import Session
from tuf.api.metadata import Metadata

from edgelift_contract.errors import ContractError, DeviceError
from edgelift_contract.signed import IMAGE
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.files import disk_errors, sync_folder, write_atomically
from edgelift_fleet.site import Site
from edgelift_fleet.trust.image import DAYS, snapshot, timestamp
from edgelift_fleet.trust.key_files import new_private, signer_of
from edgelift_fleet.trust.store import Stored, newest, put

#: Stands in the file's place where it is set.
VARIABLE = "EDGELIFT_ONLINE_KEY"
SECRET = "online-key"  # noqa: S105 - a file's name
#: What is to take its place, until the roots name it.
NEXT = "online-key.next"


def online_signer(site: Site, keyids: Collection[str] = ()) -> CryptoSigner:
    """The signer of the control plane.

    Args:
        site: whose.
        keyids: those that the roots name; of two keys that are here while one takes the other's place, it is theirs.

    Raises:
        DeviceError: `bad-config` when there is no key, others may read it, or it is none.
    """
    signers = _signers(site)
    if not keyids and signers:
        return signers[0]
    for signer in signers:
        if signer.public_key.keyid in keyids:
            return signer
    raise DeviceError(
        "bad-config",
        f"The control plane's key that devices trust is not {_place(site)}.",
        hint=f"Put back the site's secrets/{SECRET}; where it is lost, make another: edgelift keys rotate online.",
    )


def _place(site: Site) -> str:
    return f"in ${VARIABLE}" if os.environ.get(VARIABLE) else f"in {site.folder / 'secrets'}"


def _signers(site: Site) -> list[CryptoSigner]:
    """Those that are here: from the environment several, the newest last; else the file's, and what is to replace it."""
    if text := os.environ.get(VARIABLE, "").strip():
        return [_signer(one, f"${VARIABLE}") for one in text.replace(",", " ").split()]
    found = []
    for path in (site.folder / "secrets" / SECRET, site.folder / "secrets" / NEXT):
        if path.exists():
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise DeviceError("bad-config", f"Others may read the key {path}.", hint=f"chmod 600 {path}")
            found.append(_signer(site.secret(path.name), str(path)))
    return found


def _signer(text: str, where: str) -> CryptoSigner:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise DeviceError("bad-config", f"The control plane's key in {where} is none.")
    return signer_of(raw)


def create_online_key(site: Site) -> None:
    """Make the control plane's key, where there is none. Raises DeviceError: the disk's."""
    if not os.environ.get(VARIABLE):
        _create(site.folder / "secrets" / SECRET)


def prepare_online_key(site: Site, keyids: Collection[str]) -> CryptoSigner:
    """The key that is to take the place of those that the roots name; asked again, it is the same.

    Raises:
        ContractError: `conflict` when the key comes from the environment, and no other with it.
        DeviceError: as `online_signer`; the disk's.
    """
    if not os.environ.get(VARIABLE):
        settle_online_key(site, keyids)
        _create(site.folder / "secrets" / NEXT)
    for signer in _signers(site):
        if signer.public_key.keyid not in keyids:
            return signer
    raise ContractError(
        "conflict", f"The control plane's key comes from ${VARIABLE}, and there is no other to take its place.",
        hint="Start the server with both there, the new one (64 hexadecimal digits) after the old one and a comma.",
    )  # fmt: skip


def settle_online_key(site: Site, keyids: Collection[str]) -> None:
    """The new key takes the old one's place for good, once the roots name it. Raises DeviceError: the disk's."""
    path = site.folder / "secrets" / NEXT
    if path.exists() and _signer(site.secret(NEXT), str(path)).public_key.keyid in keyids:
        with disk_errors(f"the key {path}"):
            path.rename(path.with_name(SECRET))
            sync_folder(path.parent)


def _create(path: Path) -> None:
    if not path.exists():
        with disk_errors(f"the key {path}"):
            write_atomically(path, new_private().hex().encode() + b"\n", mode=0o600)


def online_ids(root: bytes) -> list[str]:
    """The keys that a root of the image repository gives to the control plane."""
    found: list[str] = Metadata.from_bytes(root).signed.roles["timestamp"].keyids
    return found


def signer_of_site(session: Session, site: Site) -> CryptoSigner:
    """The control plane's signer as the roots name it now. Raises as `online_signer`."""
    return online_signer(site, online_ids(newest(session, IMAGE)["root"].body))


def freshen(session: Session, signer: CryptoSigner, *, now: float | None = None) -> None:
    """Sign a snapshot of the image repository as it stands, and a timestamp. Inside a write transaction."""
    now = time.time() if now is None else now
    stored = newest(session, IMAGE)
    put(session, IMAGE, _fresh(stored, _next(stored, now), now, signer, DAYS["timestamp"]))


def lasting(session: Session, signer: CryptoSigner, *, days: float, now: float) -> dict[str, Stored]:
    """Snapshot and timestamp for what is carried, which hold for `days`. Inside a write transaction.

    What stands from then on is signed anew after them: a device that was brought them takes it as the newer one, and no
    device that asks is given anything that holds so long.
    """
    stored = newest(session, IMAGE)
    number = _next(stored, now)
    put(session, IMAGE, _fresh(stored, number + 1, now, signer, DAYS["timestamp"]))
    return _fresh(stored, number, now, signer, days)


def _next(stored: dict[str, Stored], now: float) -> int:
    """The next version; about the time, so that a site that was restored is ahead of what its devices have seen since."""
    before = max((stored[role].version for role in ("snapshot", "timestamp") if role in stored), default=0)
    return max(before + 1, int(now))


def _fresh(
    stored: dict[str, Stored], number: int, now: float, signer: CryptoSigner, days: float
) -> dict[str, Stored]:
    versions = {role: one.version for role, one in stored.items() if role not in ("root", "snapshot", "timestamp")}
    return {
        "snapshot": Stored(number, snapshot(versions, number, now, signer, days=days)),
        "timestamp": Stored(number, timestamp(number, number, now, signer, days=days)),
    }


def renew(db: Database, find: Callable[[Collection[str]], CryptoSigner], now: float) -> bool:
    """Renew what the control plane signs of the image repository, where half of its time is over; was it so?

    Args:
        db: the site's.
        find: gives the signer of one of these key ids, as `online_signer`.
        now: seconds since 1970.

    Raises:
        DeviceError, TransportError: the database's; `bad-config` without the key.
    """
    with db.read() as session:
        if not _is_due(newest(session, IMAGE), now):
            return False
    with db.write(SITE) as session:
        stored = newest(session, IMAGE)
        if not _is_due(stored, now):
            return False
        freshen(session, find(online_ids(stored["root"].body)), now=now)
        return True


def _is_due(stored: dict[str, Stored], now: float) -> bool:
    return "root" in stored and is_stale(stored, now)


def is_stale(stored: dict[str, Stored], now: float) -> bool:
    """Is more than half of the time over for which the image repository's timestamp holds?"""
    if "timestamp" not in stored:
        return True
    until = Metadata.from_bytes(stored["timestamp"].body).signed.expires.timestamp()
    return until - now < DAYS["timestamp"] * 86400 / 2
