"""Devices: who enrolled, with which tags, and whether they are there.

A device's own tags come from its configuration at enrolment and with each report; an operator's tag of the
same key wins. Which devices a selector means is asked of `cohorts`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Sequence
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract import codec
from edgelift_contract.enrol import EnrolRequest
from edgelift_contract.errors import ContractError
from edgelift_contract.ids import check_device_id, check_name
from edgelift_contract.report import DeviceFacts
from edgelift_fleet.db import ROWS, Database, among
from edgelift_fleet.sightings import NOBODY, Caller, Sightings
from edgelift_fleet.tables import DeviceRow, TagRow

log = logging.getLogger(__name__)

#: A device without a broker polls at least every 30 s; after this without a sign it counts as gone, seconds.
GONE_AFTER_S = 75.0
#: Less than this without a word of any device is a restart, or a clock that is put right; more is a gap, seconds.
GAP_S = 120.0
MAX_TAGS = 64
_MAX_VALUE = 256


def get_device(session: Session, device: str) -> DeviceRow:
    """An enrolled device.

    Raises:
        ContractError: `bad-id`, or `not-found`.
    """
    row = session.get(DeviceRow, check_device_id(device))
    if row is None:
        raise ContractError(
            "not-found",
            f"There is no device {device!r}.",
            hint="It appears once its agent has enrolled; see: edgelift devices.",
        )
    return row


def enrol(session: Session, request: EnrolRequest) -> bool:
    """Take a device in, or take in what changed of it; returns whether it is new."""
    row = session.get(DeviceRow, request.device)
    new = row is None
    if row is None:
        row = DeviceRow(id=request.device, enrolled_at=time.time(), last_seen=time.time())
        session.add(row)
    set_facts(row, request.facts)
    session.flush()
    set_device_tags(session, request.device, request.tags)
    return new


def set_facts(row: DeviceRow, facts: DeviceFacts) -> None:
    """What a device says of its machine; the columns by which devices are selected follow."""
    row.facts = codec.canonical_json(facts).decode()
    row.hardware_class, row.timezone = facts.hardware_class[:64], facts.timezone[:64]


def set_device_tags(session: Session, device: str, tags: dict[str, str]) -> None:
    """Make the tags that come from the device's configuration these; an operator's stay.

    Raises:
        ContractError: `bad-id` or `too-large`.
    """
    check_tags(tags)
    rows = {row.key: row for row in session.scalars(sa.select(TagRow).filter_by(device=device))}
    for key, row in rows.items():
        if row.source == "device" and key not in tags:
            session.delete(row)
    for key, value in tags.items():
        if key not in rows:
            session.add(TagRow(device=device, key=key, value=value, source="device"))
        elif rows[key].source == "device":
            rows[key].value = value


def add_tags(session: Session, device: str, wanted: dict[str, str]) -> None:
    """Give a device tags as an operator's, where it has none of that name. Raises ContractError `bad-id`, `too-large`."""
    check_tags(wanted)
    for key, value in wanted.items():
        if session.get(TagRow, (device, key)) is None:
            session.add(TagRow(device=device, key=key, value=value, source="operator"))


def change_tags(session: Session, device: str, wanted: dict[str, str], remove: Sequence[str]) -> dict[str, str]:
    """An operator's change; returns all tags of the device.

    Raises:
        ContractError: `not-found`, `bad-id` or `too-large`.
    """
    get_device(session, device)
    check_tags(wanted)
    for key, value in wanted.items():
        session.merge(TagRow(device=device, key=key, value=value, source="operator"))
    for key in remove:
        row = session.get(TagRow, (device, key))
        if row is None:
            raise ContractError("not-found", f"The device {device!r} has no tag {key!r}.")
        session.delete(row)
    session.flush()
    return tags_of(session, [device])[device]


def tags_of(session: Session, devices: Sequence[str]) -> dict[str, dict[str, str]]:
    """Device → its tags, for each of `devices`."""
    found: dict[str, dict[str, str]] = {device: {} for device in devices}
    query = sa.select(TagRow).order_by(TagRow.key)
    if len(devices) <= 500:
        query = query.where(TagRow.device.in_(devices))
    for row in session.scalars(query):
        if row.device in found:
            found[row.device][row.key] = row.value
    return found


def check_tags(tags: dict[str, str]) -> None:
    """Can a device have these? Raises ContractError `bad-id` or `too-large`."""
    if len(tags) > MAX_TAGS:
        raise ContractError("too-large", f"A device has at most {MAX_TAGS} tags; these are {len(tags)}.")
    for key, value in tags.items():
        check_name("tag", key)
        if len(value) > _MAX_VALUE:
            raise ContractError("too-large", f"The tag {key!r} has a value of more than {_MAX_VALUE} characters.")


class Heard(Protocol):
    """What is known of a device's being there: a `DeviceRow`, or a row of some of its columns."""

    id: Any
    last_seen: Any
    transport: Any
    presence_online: Any
    gone_at: Any


class LastSeen:
    """When each device was last heard of: kept in memory, written in batches.

    A write for every poll would be most of the database's work; a crash loses a few seconds of this.

    Attributes:
        listening_since: when the last time ended in which no device could be heard, seconds since 1970; 0 for none that is
            known of. What a device could say before counts against none: see `rollout.hearing`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unwritten: dict[str, tuple[float, str]] = {}
        self.sightings = Sightings()
        self.listening_since = 0.0

    def touch(self, device: str, transport: str, caller: Caller = NOBODY) -> None:
        """The device spoke just now, by `http` or `mqtt`; where the caller tells its epoch, that is a sighting."""
        with self._lock:
            self._unwritten[device] = (time.time(), transport)
        if caller.epoch:
            self.sightings.hear(device, caller, via=transport)

    def of(self, row: Heard) -> tuple[float, str]:
        """When the device was last heard of (seconds since 1970), and how."""
        with self._lock:
            # Another server of the site may have heard of it since, and written so.
            return max(self._unwritten.get(row.id, (0.0, "")), (row.last_seen, row.transport))

    def unwritten(self) -> dict[str, float]:
        """Device → when it was last heard of, of those whose rows don't say so yet."""
        with self._lock:
            return {device: at for device, (at, _) in self._unwritten.items()}

    def at(self, device: str, stored: float) -> float:
        """When a device was last heard of, where its row says `stored`; seconds since 1970."""
        with self._lock:
            return max(self._unwritten.get(device, (stored, ""))[0], stored)

    def flush(self, db: Database) -> None:
        """Write what is new; what can't be written now is kept for the next time."""
        with self._lock:
            taken, self._unwritten = self._unwritten, {}
        if not taken:
            return
        rows = [{"id": d, "last_seen": at, "transport": how} for d, (at, how) in sorted(taken.items())]
        try:
            with db.write(ROWS) as session:
                session.execute(sa.update(DeviceRow), rows)
        except BaseException:
            with self._lock:
                self._unwritten = {**taken, **self._unwritten}
            raise


def begin_listening(session: Session, seen: LastSeen, now: float) -> None:
    """A server begins to lead: who is connected to the broker is learned anew from what that retains, and devices have had
    no chance to be heard since one last was. Inside a write transaction.
    """
    heard_at = session.scalar(sa.select(sa.func.max(DeviceRow.last_seen))) or 0.0
    session.execute(sa.update(DeviceRow).values(presence_online=False))
    if heard_at and abs(now - heard_at) > GAP_S:
        seen.listening_since = now
        log.warning("no device was heard for %.0f s before: their deadlines count anew", abs(now - heard_at))


def hold_devices(session: Session, devices: Collection[str]) -> None:
    """Hold the rows of these devices before any is written, in the one order in which `LastSeen.flush` writes them.

    Whoever writes several in the order that suits it could else hold one that the flush waits for, and wait for one
    that the flush holds. By the bytes of their ids, as Python sorts them: a database that sorts as a language does has
    `b-1` after `b1`. Of one device, and with SQLite's one writer, there is nothing to put in order.
    """
    if len(devices) < 2 or session.get_bind().dialect.name != "postgresql":
        return
    rows = sa.select(DeviceRow.id).where(among(session, DeviceRow.id, devices))
    session.execute(rows.order_by(sa.collate(DeviceRow.id, "C")).with_for_update(key_share=True)).all()


def is_online(row: Heard, last_seen: float, now: float) -> bool:
    """Is the device there? See `is_there`."""
    return is_there(row.presence_online, row.gone_at, last_seen, now)


def is_there(presence_online: bool, gone_at: float, last_seen: float, now: float) -> bool:
    """Is a device there? Its broker connection says so, or it spoke over HTTP lately, after any good-bye.

    Args:
        presence_online: what its broker connection says.
        gone_at: when it said good-bye; this and the next are seconds since 1970, host's clock.
        last_seen: when it was last heard of.
        now: the time now.
    """
    # What lies in the future was dated by a clock that has been set back since: it says nothing.
    after_good_bye = last_seen > gone_at or gone_at > now
    return presence_online or (after_good_bye and abs(now - last_seen) < GONE_AFTER_S)


def was_there(now: float) -> sa.ColumnElement[bool]:
    """`is_there` of what is written of a device, for a WHERE."""
    row = DeviceRow
    after_good_bye = sa.or_(row.last_seen > row.gone_at, row.gone_at > now)
    lately = sa.and_(row.last_seen > now - GONE_AFTER_S, row.last_seen < now + GONE_AFTER_S)
    return sa.or_(row.presence_online, sa.and_(after_good_bye, lately))
