"""Which devices a person asks to see: a selector, and what only shows once it is read.

What the database can judge is one WHERE. What it can't (facts, who is there by what this server heard a moment ago,
what can't be read) is judged here over the devices that the rest leaves, by a fixed number of statements.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.assignment import Assignment
from edgelift_contract.errors import ContractError
from edgelift_contract.report import DeviceFacts, UpdateReport
from edgelift_fleet.assignments import has_failed_at
from edgelift_fleet.cohorts import Where, among, split
from edgelift_fleet.db import among as one_of
from edgelift_fleet.devices import LastSeen, is_there, was_there
from edgelift_fleet.numbering import revisions_spent
from edgelift_fleet.rows import is_readable, read_row
from edgelift_fleet.selector import And, Tree, parse_selector
from edgelift_fleet.selector_terms import parse_term
from edgelift_fleet.tables import AssignmentRow, DeviceRow, SlotStateRow, TelemetryDoubtRow

#: In a last update's JSON: it may have failed. Quotes inside a text are escaped, so no message looks like this.
_FAILED = tuple(f'%"outcome":"{outcome}"%' for outcome in ("refused", "rolled-back", "inconsistent"))
_COMMITTED = '%"outcome":"committed"%'


@dataclass(frozen=True)
class DeviceFilter:
    """What devices are asked for; all of it must hold.

    Attributes:
        to: a selector.
        hardware_class: or a pattern of it, as `arm64-*`.
        tags: each `key` or `key=value`.
        release: that a slot serves, as `digits@2`, or a model.
        failing: a slot could not take what it should run, and still should.
        online: it is there.
        duplicate: several devices speak under its id.
        faulty: it is set apart, for something of it can't be read.
        ids: one of these; None for any.
    """

    to: str = ""
    hardware_class: str = ""
    tags: tuple[str, ...] = ()
    release: str = ""
    failing: bool | None = None
    online: bool | None = None
    duplicate: bool | None = None
    faulty: bool | None = None
    ids: frozenset[str] | None = None

    def tree(self) -> Tree:
        """What of it a selector can say. Raises ContractError `bad-id`."""
        terms = [parse_selector(self.to or "all"), *(_term("tag", tag) for tag in self.tags)]
        if self.hardware_class:
            terms.append(_term("class", self.hardware_class))
        if self.release:
            terms.append(_term("runs", self.release))
        return And(tuple(terms))


def _term(kind: str, text: str) -> Tree:
    """A term of the selector's language from a filter of its own."""
    try:
        if "\0" in text:
            raise ContractError("bad-id", f"{text[:80]!r} holds a character that nothing here has")
        return parse_term(f"{kind}:{text}")
    except ContractError as error:
        raise ContractError(error.code, f"{error.message.rstrip('.')}.", hint=error.hint) from error


ALL = DeviceFilter()


def choose(session: Session, seen: LastSeen, asked: DeviceFilter) -> Where:
    """The devices that `asked` means now: what had to be judged here is in it by its ids, so that the database counts and
    cuts pages whatever was asked.

    Raises:
        ContractError: `bad-id`.
    """
    where, rest = split(asked.tree())
    if rest is not None:
        where = sa.and_(where, one_of(session, DeviceRow.id, among(session, rest, where)))
    if asked.ids is not None:
        where = sa.and_(where, one_of(session, DeviceRow.id, asked.ids))
    for wanted, judge in (
        (asked.failing, failing), (asked.duplicate, duplicates), (asked.online, online), (asked.faulty, faulty)
    ):  # fmt: skip
        if wanted is not None:
            found = judge(session, seen, where)
            where = sa.and_(where, found if wanted else sa.not_(found))
    return where


def failing(session: Session, _seen: LastSeen, where: Where) -> Where:
    """Devices with a slot that could not take what it should run, and still should."""
    query = sa.select(SlotStateRow, AssignmentRow.body).join(DeviceRow, DeviceRow.id == SlotStateRow.device)
    query = query.join(AssignmentRow, AssignmentRow.device == SlotStateRow.device).where(where)
    may_have = sa.or_(*(SlotStateRow.last_update.like(pattern) for pattern in _FAILED))
    found = set()
    # Most have committed: that is the one pattern that most rows are looked through for.
    for slot, body in session.execute(query.where(SlotStateRow.last_update.not_like(_COMMITTED), may_have)):
        assigned = read_row(body, Assignment, owner=slot.device, what="assignment", into=[])
        wanted = assigned.slots.get(slot.slot) if assigned else None
        if wanted is not None and has_failed_at(slot, wanted):
            found.add(slot.device)
    return one_of(session, DeviceRow.id, found)


def online(session: Session, seen: LastSeen, where: Where) -> Where:
    """Devices that are there, also by what has not been written down yet."""
    now, lately = time.time(), seen.unwritten()
    written = was_there(now)
    columns = (DeviceRow.id, DeviceRow.presence_online, DeviceRow.gone_at)
    since = (
        sa.select(*columns).where(where, sa.not_(written), one_of(session, DeviceRow.id, lately))
        if lately
        else None
    )
    found = {
        device
        for device, presence_online, gone_at in (session.execute(since) if since is not None else ())
        if is_there(presence_online, gone_at, lately[device], now)
    }
    return sa.or_(written, one_of(session, DeviceRow.id, found)) if found else written


def duplicates(session: Session, seen: LastSeen, _where: Where) -> Where:
    """Ids under which several devices speak."""
    return one_of(session, DeviceRow.id, seen.sightings.doubled())


def faulty(session: Session, _seen: LastSeen, where: Where) -> Where:
    """Devices of which a list shows faults or doubts."""
    query = sa.select(
        DeviceRow.id, DeviceRow.facts, DeviceRow.revision_seen, AssignmentRow.revision, AssignmentRow.body
    )
    found = {
        device
        for device, facts, revision_seen, standing, body in session.execute(
            query.outerjoin(AssignmentRow, AssignmentRow.device == DeviceRow.id).where(where)
        )
        if not is_readable(facts, DeviceFacts)
        or (body is not None and not is_readable(body, Assignment))
        or revisions_spent(device, standing or 0, revision_seen)
    }
    updates = sa.select(SlotStateRow.device, SlotStateRow.last_update).join(
        DeviceRow, DeviceRow.id == SlotStateRow.device
    )
    for device, body in session.execute(updates.where(where, SlotStateRow.last_update != "")):
        if not is_readable(body, UpdateReport):
            found.add(device)
    doubted = sa.select(TelemetryDoubtRow.device).join(DeviceRow, DeviceRow.id == TelemetryDoubtRow.device)
    return one_of(session, DeviceRow.id, found | set(session.scalars(doubted.where(where))))
