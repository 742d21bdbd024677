"""Cohorts whose sums are remembered: sets of devices that were asked for and cost much to sum one by one.

A cohort is known by its members, not by the tag that named them: who tags a board anew asks for another cohort, and
nothing that is remembered becomes wrong. A cohort that is not known is answered by the largest one that lies within it
and the other devices one by one: a few boards that join a tag cost a few boards.

What is asked for is noted in memory (`AskedCohorts`), written by the keeper's thread, and let go when nobody asks any more.
"""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.db import among, insert_new
from edgelift_fleet.tables import ControlRow, TelemetryCohortRow, TelemetryCohortSumRow
from edgelift_fleet.telemetry.ranges import DAY, HOUR

#: So many cohorts are remembered; of more, those that were asked for last.
MAX_COHORTS = 16
#: Those that nobody asked for in so long are let go, seconds.
KEPT_S = 30 * 86400.0
#: When a cohort was asked for is written so often at most, seconds: asking is no reason to write.
NOTED_EVERY_S = 3600.0
#: Hours and days of one cohort at most; what lies before is summed afresh.
MAX_STARTS = {HOUR: 1100, DAY: 800}
#: Buckets of single devices that a question has to read before its cohort is worth remembering.
WORTH = 2000
_CHANGES = "telemetry-changes"
#: Members of cohorts by their digest, which tells them for ever: a process reads each once.
_MEMBERS: OrderedDict[str, frozenset[str]] = OrderedDict()
_MOST_READ = 4 * MAX_COHORTS
_reading = threading.Lock()


@dataclass(frozen=True)
class KnownCohort:
    """A cohort that is known; see `tables.TelemetryCohortRow`."""

    id: int
    digest: str
    members: frozenset[str]
    days_from: int
    hours_from: int
    asked_at: float
    ready_at: float


def digest_of(members: Collection[str]) -> str:
    """What tells a set of devices: SHA-256 of their ids in order."""
    return hashlib.sha256(_packed(members)).hexdigest()


def _packed(members: Collection[str]) -> bytes:
    return "\n".join(sorted(members)).encode()


def known_cohorts(session: Session) -> list[KnownCohort]:
    """All of them, those asked for last first. One whose members can't be read is as if it weren't there."""
    row = TelemetryCohortRow
    names = ("id", "digest", "days_from", "hours_from", "asked_at", "ready_at")
    query = sa.select(*(getattr(row, name) for name in names)).order_by(row.asked_at.desc(), row.id)
    found = [one._mapping for one in session.execute(query)]
    members = _members(session, [one["digest"] for one in found])
    return [KnownCohort(members=members[one["digest"]], **one) for one in found if one["digest"] in members]


def _members(session: Session, digests: Collection[str]) -> Mapping[str, frozenset[str]]:
    with _reading:
        found = {digest: _MEMBERS[digest] for digest in digests if digest in _MEMBERS}
    new = set(digests) - found.keys()
    if new:
        row = TelemetryCohortRow
        for digest, body in session.execute(
            sa.select(row.digest, row.members).where(among(session, row.digest, new))
        ):
            if hashlib.sha256(body).hexdigest() == digest:
                found[digest] = frozenset(body.decode().split("\n"))
    with _reading:
        for digest, members in found.items():
            _MEMBERS[digest] = members
            _MEMBERS.move_to_end(digest)
        while len(_MEMBERS) > _MOST_READ:
            _MEMBERS.popitem(last=False)
    return found


def best_for(members: frozenset[str], known: Collection[KnownCohort]) -> KnownCohort | None:
    """The cohort whose sums answer for most of `members` and for nobody else. One that isn't ready counts half."""
    within = [one for one in known if len(one.members) <= len(members) and one.members <= members]
    return max(within, key=lambda one: len(one.members) * (2 if one.ready_at else 1), default=None)


@dataclass
class _Wanted:
    members: frozenset[str]
    first: dict[int, int] = field(default_factory=dict)


class AskedCohorts:
    """Cohorts that were asked for and are not written yet. Safe to use from several threads."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._wanted: OrderedDict[str, _Wanted] = OrderedDict()
        self._written: dict[str, tuple[float, dict[int, int]]] = {}

    def note(self, members: frozenset[str], first: Mapping[int, int]) -> None:
        """That these devices were asked for together.

        Args:
            members: their ids.
            first: level → the first of its buckets that was wanted, milliseconds since 1970.
        """
        digest = digest_of(members)
        with self._mutex:
            at, known = self._written.get(digest, (0.0, {}))
            if time.time() - at < NOTED_EVERY_S and all(
                known.get(n, start + 1) <= start for n, start in first.items()
            ):
                return
            wanted = self._wanted.setdefault(digest, _Wanted(members))
            for level, start in first.items():
                wanted.first[level] = min(start, wanted.first.get(level, start))
            while len(self._wanted) > MAX_COHORTS:
                self._wanted.popitem(last=False)

    def waits(self) -> bool:
        """Is there anything to be written?"""
        with self._mutex:
            return bool(self._wanted)

    def write(self, session: Session, now: float) -> None:
        """Write what was noted; inside a write transaction. Noted again should that fail."""
        with self._mutex:
            wanted, self._wanted = self._wanted, OrderedDict()
        try:
            for digest, one in wanted.items():
                _write(session, digest, one, now)
        except BaseException:
            with self._mutex:
                self._wanted = OrderedDict({**wanted, **self._wanted})
            raise
        with self._mutex:
            for digest, one in wanted.items():
                _, known = self._written.get(digest, (0.0, {}))
                self._written[digest] = (now, {**known, **{
                    level: min(start, known.get(level, start)) for level, start in one.first.items()
                }})  # fmt: skip
            while len(self._written) > _MOST_READ:
                self._written.pop(next(iter(self._written)))


def _write(session: Session, digest: str, wanted: _Wanted, now: float) -> None:
    row = TelemetryCohortRow
    members = _packed(wanted.members)
    new = {
        "digest": digest, "members": members, "days_from": 0, "hours_from": 0, "asked_at": now,
        "ready_at": 0.0,
    }  # fmt: skip
    insert_new(session, row, [new])
    mine = session.execute(sa.select(row).where(row.digest == digest).with_for_update()).scalar_one()
    mine.asked_at, mine.members = max(mine.asked_at, now), members  # (whatever the disk made of them)
    for level, name in ((DAY, "days_from"), (HOUR, "hours_from")):
        if level in wanted.first:
            known = getattr(mine, name)
            setattr(mine, name, min(known or wanted.first[level], wanted.first[level]))
    session.flush()


def let_go(session: Session, now: float) -> int:
    """Forget cohorts that are too many or that nobody asks for, and those that can't be read; how many.

    Inside a write transaction that began with `mark_changed`.
    """
    row = TelemetryCohortRow
    kept = [one.id for one in known_cohorts(session) if now - one.asked_at < KEPT_S][:MAX_COHORTS]
    gone = [number for number in session.scalars(sa.select(row.id)) if number not in kept]
    if gone:
        session.execute(sa.delete(TelemetryCohortSumRow).where(among(session, TelemetryCohortSumRow.cohort, gone)))
        session.execute(sa.delete(row).where(among(session, row.id, gone)))
    return len(gone)


def changes(session: Session) -> str:
    """What differs after each change to devices' buckets."""
    row = session.get(ControlRow, _CHANGES, populate_existing=True)
    return row.value if row is not None else ""


def mark_changed(session: Session, since: str | None = None) -> bool:
    """Say that this transaction changes devices' buckets, or sums that are remembered of them. Before it does.

    Such transactions run one after the other: on PostgreSQL they wait here for each other.

    Args:
        session: of a write transaction.
        since: only if `changes` is still this.

    Returns:
        Whether it is.
    """
    row = ControlRow
    if since is not None and since != "":
        here = [row.name == _CHANGES, row.value == since]
    else:
        insert_new(session, row, [{"name": _CHANGES, "value": ""}])
        here = [row.name == _CHANGES] + ([] if since is None else [row.value == ""])
    told = sa.update(row).where(*here).values(value=uuid.uuid4().hex)
    result = session.connection().execute(told, execution_options={"preserve_rowcount": True})
    return bool(result.rowcount)
