"""Bundles of devices: asked for, brought, kept for a while. One wish of a device is open at a time.

The record (who asked, why, when, what became of it) outlives the bundle. What is kept is bounded by age, by number for
each device, and in bytes for the site: the oldest go first. All of it is in the database, so that any server of the site
takes a bundle and any gives it.
"""

from __future__ import annotations

import secrets
import time

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract import codec
from edgelift_contract.bundle import BUNDLE_ABILITY, unpack
from edgelift_contract.errors import ContractError
from edgelift_contract.report import DeviceFacts
from edgelift_contract.text import clean
from edgelift_fleet.devices import get_device
from edgelift_fleet.messages import BundleRequest, BundleView
from edgelift_fleet.rows import decode_row
from edgelift_fleet.site import SiteConfig
from edgelift_fleet.tables import BundleBodyRow, BundleRow

#: Of each device: bundles that are kept, and records.
KEPT_OF_DEVICE, RECORDS_OF_DEVICE = 5, 50
WAITING = "waiting"


def ask(session: Session, device: str, wanted: BundleRequest, *, by: str) -> BundleView:
    """Ask a device for a bundle; the one that is open already where there is one.

    Raises:
        ContractError: `bad-id`, `not-found`; `agent-too-old` for one that knows no bundles.
    """
    row = get_device(session, device)
    facts = decode_row(row.facts, DeviceFacts, owner=device, what="facts")
    if BUNDLE_ABILITY not in facts.abilities:
        raise ContractError(
            "agent-too-old",
            f"The agent of {device!r} is {row.agent_version or 'of an unknown release'} and can't be asked for its logs.",
            hint="Update edgelift on it; until then: journalctl -u edgelift-agent, edgelift-agent doctor there.",
        )
    now = time.time()
    found = _open_of(session, device, now)
    if found is None:
        found = BundleRow(
            id=secrets.token_hex(16), device=device, state=WAITING, asked_at=now, asked_by=by, why=clean(wanted.why),
            expires_at=now + wanted.wait_s, ended_at=0.0, sha256="", size_bytes=0, kept=False, message="",
        )  # fmt: skip
        session.add(found)
        session.flush()
        _forget_records(session, device)
    return view(found)


def _open_of(session: Session, device: str, now: float) -> BundleRow | None:
    mine = sa.select(BundleRow).where(BundleRow.device == device, BundleRow.state == WAITING)
    return session.scalars(mine.where(BundleRow.expires_at > now).limit(1)).first()


def check_wanted(session: Session, device: str, bundle: str) -> BundleRow:
    """The bundle, if the device was asked for it and may still bring it, or has brought it.

    Raises:
        ContractError: `not-found`.
    """
    row = session.get(BundleRow, bundle)
    if row is None or row.device != device or not (_is_open(row) or row.state == "brought"):
        raise ContractError("not-found", f"No such bundle is wanted of {device!r}, or no longer.")
    return row


def _is_open(row: BundleRow) -> bool:
    return row.state == WAITING and row.expires_at > time.time()


def judge(data: bytes, *, device: str, bundle: str) -> ContractError | None:
    """What is wrong with what a device brought; None where it is as it must be."""
    try:
        unpack(data, device=device, bundle=bundle)
    except ContractError as error:
        return error
    return None


def take(session: Session, device: str, bundle: str, data: bytes, wrong: ContractError | None) -> None:
    """Keep what a device brought; the same once more changes nothing.

    Args:
        session: of a write that may touch the device.
        device: whose.
        bundle: which.
        data: what came.
        wrong: what is wrong with it: then it ends the wish, and nothing is kept.

    Raises:
        ContractError: `not-found`.
    """
    row = check_wanted(session, device, bundle)
    if row.state != WAITING:
        return
    row.ended_at, row.size_bytes, row.sha256 = time.time(), len(data), codec.digest(data)
    if wrong is not None:
        row.state, row.message = "refused", f"{wrong} ({wrong.code})"[:2000]
        return
    row.state, row.kept = "brought", True
    session.add(BundleBodyRow(id=row.id, device=device, body=data))
    session.flush()
    _drop(session, _beyond(session, device))


def view(row: BundleRow) -> BundleView:
    """As people see it."""
    state = "expired" if row.state == WAITING and not _is_open(row) else row.state
    return BundleView(
        row.id, row.device, state, row.asked_at, row.asked_by, row.why, row.expires_at, row.ended_at,  # type: ignore[arg-type]  # ours alone are written
        row.size_bytes, row.sha256, row.kept, row.message,
    )  # fmt: skip


def list_bundles(session: Session, device: str) -> list[BundleView]:
    """All that are recorded of a device, newest first; raises as `get_device`."""
    get_device(session, device)
    rows = session.scalars(sa.select(BundleRow).filter_by(device=device).order_by(BundleRow.asked_at.desc()))
    return [view(row) for row in rows]


def get_bundle(session: Session, device: str, bundle: str) -> BundleRow:
    """One of a device.

    Raises:
        ContractError: `bad-id`, `not-found`.
    """
    get_device(session, device)
    row = session.get(BundleRow, bundle)
    if row is None or row.device != device:
        raise ContractError("not-found", f"There is no bundle {bundle[:64]!r} of {device!r}.")
    return row


def body_of(session: Session, device: str, bundle: str) -> bytes:
    """Its bytes.

    Raises:
        ContractError: `not-found`: it has not come, or is kept no longer.
    """
    row = get_bundle(session, device, bundle)
    found = session.get(BundleBodyRow, bundle)
    if found is None:
        why = "is kept no longer" if row.state == "brought" else f"has not come: {view(row).state}"
        raise ContractError("not-found", f"The bundle {bundle} of {device!r} {why}.", hint="Ask for another one.")
    return found.body


def withdraw(session: Session, device: str, bundle: str) -> BundleView:
    """Take a wish back, or throw away what it brought; raises as `get_bundle`."""
    row = get_bundle(session, device, bundle)
    if row.state == WAITING:
        row.state, row.ended_at = "withdrawn", time.time()
    _drop(session, [bundle])
    session.flush()
    return view(row)


def _beyond(session: Session, device: str) -> list[str]:
    kept = sa.select(BundleRow.id).filter_by(device=device, kept=True).order_by(BundleRow.ended_at.desc())
    return list(session.scalars(kept.offset(KEPT_OF_DEVICE)))


def _forget_records(session: Session, device: str) -> None:
    old = sa.select(BundleRow.id).filter_by(device=device).order_by(BundleRow.asked_at.desc())
    ids = list(session.scalars(old.offset(RECORDS_OF_DEVICE)))
    if ids:
        session.execute(sa.delete(BundleBodyRow).where(BundleBodyRow.id.in_(ids)))
        session.execute(sa.delete(BundleRow).where(BundleRow.id.in_(ids)))


def _drop(session: Session, ids: list[str]) -> None:
    if ids:
        session.execute(sa.delete(BundleBodyRow).where(BundleBodyRow.id.in_(ids)))
        session.execute(sa.update(BundleRow).where(BundleRow.id.in_(ids)).values(kept=False))


def sweep(session: Session, config: SiteConfig, now: float) -> int:
    """End wishes that have expired, and throw away what is too old or too much; how many rows that was."""
    ended = sa.update(BundleRow).where(BundleRow.state == WAITING, BundleRow.expires_at <= now)
    expired = session.execute(ended.values(state="expired", ended_at=now)).rowcount  # type: ignore[attr-defined]  # SQLAlchemy's stubs lack it
    gone, total = [], 0
    rows = session.execute(
        sa.select(BundleRow.id, BundleRow.ended_at, BundleRow.size_bytes).filter_by(kept=True)
        .order_by(BundleRow.ended_at.desc())
    )  # fmt: skip
    for bundle, ended_at, size_bytes in rows:
        total += size_bytes
        old = config.bundle_days and now - ended_at > config.bundle_days * 86400
        if old or total > config.bundle_limit_bytes:
            gone.append(bundle)
    for first in range(0, len(gone), 500):
        _drop(session, gone[first : first + 500])
    return int(expired) + len(gone)
