"""The one writer of rollouts: gathers what was observed, asks `rollout.decide`, and acts.

A thread of its own. All state is in the database; a server that is killed between two transactions goes on where it
was, for every decision states a wanted end and is made again until that is reached. Many devices are written in chunks,
and those of a chunk are told once it is committed; should the server end right there, they learn at their next poll or
connect.

It looks when it was woken (a report, a command, tags), when time alone changes the next decision, and now and then
besides, for what nobody told it. Looks at a large fleet cost: between two of them it rests for several times what the
last one took, so that they never take more than a seventh of a core from the reports that they are about.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.errors import ContractError, EdgeliftError
from edgelift_fleet.changes import Changes
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.lead import Lead
from edgelift_fleet.rollout.comparison import Look, begin, count_served, keep, take_look
from edgelift_fleet.rollout.decide import decide
from edgelift_fleet.rollout.decisions import (
    Advance,
    Compare,
    Count,
    Decision,
    Finish,
    Hold,
    HoldBack,
    Pause,
    RollBack,
)
from edgelift_fleet.rollout.handing import CHUNK, give_back, hand_out, hold_back
from edgelift_fleet.rollout.hearing import Hearing
from edgelift_fleet.rollout.observe import Placed, look, plan_of
from edgelift_fleet.rollout.situation import TERMINAL, Observations
from edgelift_fleet.rollout.story import is_news, note, remember, set_state
from edgelift_fleet.tables import RolloutDeviceRow, RolloutEventRow, RolloutRow

log = logging.getLogger(__name__)

#: Between two looks, seconds; of a large fleet so many times what the last look took.
_BREATH_S, _BREATHS = 0.1, 6.0
#: A look that nobody asked for comes after this long, seconds, or so many times what the last look took: what another
#: process wrote, a device that went away without a word.
_UNASKED_S, _UNASKED_TIMES, _UNASKED_MOST_S = 5.0, 400.0, 30.0

#: Whoever doesn't lead, or could not look, tries again after this long, seconds.
_AGAIN_S = 0.5

#: Writes one chunk of devices; returns those whose assignment changed.
_Write = Callable[[Session, RolloutRow, Sequence[str], LastSeen], list[str]]


@dataclass(frozen=True)
class _Seen:
    """One look at a rollout, with what must still be so when it is acted upon, and what is to be told of it besides."""

    found: dict[str, Placed]
    observations: Observations
    decision: Decision
    stamp: tuple[object, ...]
    now: float
    untold: list[str]
    compared: Look | None = None


class Controller:
    """Drives all rollouts while its block runs.

    Args:
        lead: only its holder acts.
        db: where rollouts stand.
        seen: when each device was last heard of.
        changes: told which devices have a new assignment.
        work: set by others whenever there may be something to do.
    """

    def __init__(self, lead: Lead, db: Database, seen: LastSeen, changes: Changes, work: threading.Event) -> None:
        self._lead, self._db, self._seen, self._changes, self._work = lead, db, seen, changes, work
        self._hearing = Hearing()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="controller", daemon=True)

    def __enter__(self) -> Controller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._work.set()
        self._thread.join(3)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._work.clear()
            began, due = time.thread_time(), time.time() + _AGAIN_S
            try:
                due = self.step() if self._lead.leads else time.time() + _AGAIN_S
            except EdgeliftError as error:
                self._hearing.failed()
                log.warning("rollouts wait code=%s %s", error.code, error.message)
            except Exception:
                log.exception("a fault in the rollout controller")  # the next look may find it mended
            took_s = time.thread_time() - began  # of the processor: what others do meanwhile is not its cost
            self._stopping.wait(max(_BREATH_S, _BREATHS * took_s))
            left_s = min(max(_UNASKED_S, _UNASKED_TIMES * took_s), _UNASKED_MOST_S)
            if due:
                left_s = min(left_s, max(0.0, due - time.time()))
            self._work.wait(left_s)

    def step(self) -> float:
        """Look at every rollout that is under way, and do what is due.

        Returns:
            When time alone will change something, seconds since 1970; 0 for never.
        """
        with self._db.read() as session:
            active = sa.select(RolloutRow.number).where(RolloutRow.state.not_in(TERMINAL))
            numbers = list(session.scalars(active.order_by(RolloutRow.number)))
        if self._hearing.looked(now := time.time()):
            self._seen.listening_since = now
            log.warning("nobody could be heard for a while, or the clock jumped: deadlines count anew")
        dues = []
        for number in numbers:
            try:
                dues.append(self._attend(number))
            except ContractError as error:  # what is stored of it can't be read or understood: the others go on
                log.warning("the rollout r%d waits code=%s %s", number, error.code, error.message)
        return min((due for due in dues if due), default=0.0)

    def _attend(self, number: int) -> float:
        """Look at one rollout and act; returns as `step`."""
        with self._db.read() as session:
            row = session.get_one(RolloutRow, number)
            seen = self._look(session, row)
            quiet = _is_quiet(row, seen)
        if not quiet:
            rest = self._act(number, seen)
            for write, devices in rest:
                if not self._write(number, seen, write, devices):
                    break
            self._work.set()  # what was done is looked at in its turn
        return seen.decision.until if isinstance(seen.decision, Hold) else 0.0

    def _look(self, session: Session, row: RolloutRow) -> _Seen:
        now = time.time()
        found, observations = look(session, row, self._seen, now)
        plan = plan_of(row)
        decision = decide(plan, observations, now)
        if isinstance(decision, Count) and observations.gate:
            served = count_served(session, row, plan, decision.since, observations, self._seen, now)
            observations = replace(observations, gate=replace(observations.gate, served=served))
            decision = decide(plan, observations, now)
        # Here and not where it is kept: nobody waits for a write meanwhile.
        compared = (
            take_look(session, row, plan, decision, observations, self._seen, now)
            if isinstance(decision, Compare)
            else None
        )
        return _Seen(
            found, observations, decision, _stamp(row), now, _untold(session, row, observations), compared
        )

    def _act(self, number: int, seen: _Seen) -> list[tuple[_Write, Sequence[str]]]:
        """Keep what was seen and do what was decided, with the first chunk of devices; returns the other chunks."""
        with self._lead.write(SITE) as session:
            row = session.get_one(RolloutRow, number)
            if _stamp(row) != seen.stamp:
                return []  # a person was faster: it is looked at again
            remember(session, row, seen.found, seen.now)
            row.cohort = len(seen.observations.cohort)
            for text in seen.untold:
                note(session, row, "elsewhere", text)
            changed = _watch(session, row, seen)
            chunks = list(_chunks(*_carry_out(session, row, seen)))
            changed += chunks[0][0](session, row, chunks[0][1], self._seen) if chunks else []
        self._tell(changed)
        return chunks[1:]

    def _write(self, number: int, seen: _Seen, write: _Write, devices: Sequence[str]) -> bool:
        """One more chunk; False if the rollout is not any more as it was decided upon."""
        with self._lead.write(SITE) as session:
            row = session.get_one(RolloutRow, number)
            if row.state != _state_after(seen):
                return False
            changed = write(session, row, devices, self._seen)
        self._tell(changed)
        return True

    def _tell(self, devices: Sequence[str]) -> None:
        for device in devices:
            self._changes.announce(device)


def _stamp(row: RolloutRow) -> tuple[object, ...]:
    return row.state, row.wave, row.back, row.approved, row.changed_at


def _state_after(seen: _Seen) -> str:
    match seen.decision:
        case Advance():
            return "running"
        case RollBack():
            return "rolling-back"
        case _:
            return seen.observations.state


def _is_quiet(row: RolloutRow, seen: _Seen) -> bool:
    """Would acting change nothing?"""
    if (
        seen.untold
        or row.cohort != len(seen.observations.cohort)
        or any(is_news(one) for one in seen.found.values())
    ):
        return False
    decision = seen.decision
    if not isinstance(decision, Hold) or decision.join:
        return False
    stands = (decision.reason, decision.until, decision.approval) == (row.reason, row.due_at, row.awaits)
    return row.state == "paused" or stands


def _watch(session: Session, row: RolloutRow, seen: _Seen) -> list[str]:
    """The gate's part of a decision: a wave that begins has controls, a look is kept; returns who has a new assignment."""
    if seen.compared is not None:
        keep(session, row, seen.compared)
    if isinstance(seen.decision, Advance):
        return begin(session, row, plan_of(row), seen.observations, seen.decision.wave, seen.decision.devices)
    return []


def _carry_out(session: Session, row: RolloutRow, seen: _Seen) -> tuple[_Write, Sequence[str]]:
    """Do what was decided, but for the devices: returns what is to be done with which."""
    match seen.decision:
        case Advance(wave, devices, reason):
            row.state, row.wave, row.reason, row.changed_at = "running", wave, reason, time.time()
            row.due_at, row.awaits = 0.0, 0
            note(session, row, "wave", reason)
            return hand_out, devices
        case Hold(reason, join, until, approval):
            if row.state != "paused":  # there the reason of the pause is what people need to read
                row.changed_at = row.changed_at if row.reason == reason else time.time()
                row.reason, row.due_at, row.awaits = reason, until, approval
            if join:
                note(session, row, "joined", reason)
            return hand_out, join
        case HoldBack(devices, reason):
            note(session, row, "held", reason)
            return hold_back, devices
        case Pause(reason):
            set_state(session, row, "paused", reason)
        case RollBack(devices, reason, scope):
            if row.state != "rolling-back":
                row.back = scope
                set_state(session, row, "rolling-back", reason)
            return give_back, devices
        case Finish(state, reason, outcomes, let_go):
            _let_go(session, row, let_go)
            set_state(session, row, state, reason, devices=outcomes)
    return hand_out, ()


def _let_go(session: Session, row: RolloutRow, devices: Sequence[str]) -> None:
    if devices:
        now = time.time()
        change = {
            "rollout": row.number,
            "status": "let-go",
            "status_at": now,
            "message": "It was offline at the end.",
        }
        session.execute(sa.update(RolloutDeviceRow), [{**change, "device": device} for device in devices])


def _untold(session: Session, row: RolloutRow, seen: Observations) -> list[str]:
    """What was not yet said of devices that another rollout has."""
    if not seen.elsewhere:
        return []
    texts = {
        f"{device} is left to {name}, which has it on the same slot." for device, name in seen.elsewhere.items()
    }
    query = sa.select(RolloutEventRow.text).filter_by(rollout=row.number, kind="elsewhere")
    return sorted(texts - set(session.scalars(query)))


def _chunks(write: _Write, devices: Sequence[str]) -> Iterator[tuple[_Write, Sequence[str]]]:
    for first in range(0, len(devices), CHUNK):
        yield write, devices[first : first + CHUNK]
