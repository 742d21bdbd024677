"""The one writer of rollouts: gathers what was observed, asks `rollout.decide`, and acts.

A thread of its own, woken by reports and commands and once a second. All state is in the database, and each
step is one transaction: a server that is killed between two steps goes on where it was. Devices are told only
after the step is committed; should the server end right there, they learn at their next poll or connect.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract import codec
from edgelift_contract.assignment import Policy
from edgelift_contract.errors import ContractError, EdgeliftError
from edgelift_fleet.assignments import pick, set_slot
from edgelift_fleet.changes import Changes
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.devices import LastSeen, get_device
from edgelift_fleet.lead import Lead
from edgelift_fleet.rollout.decide import TERMINAL, Advance, Decision, Finish, Hold, Pause, RollBack, decide
from edgelift_fleet.rollout.observe import Standing, cohort_of, observe, rollout_id, standings
from edgelift_fleet.rollout.orders import note, plan_of, set_state
from edgelift_fleet.rollout.restore import previous_of, restore
from edgelift_fleet.rows import UnreadableRow, decode_row
from edgelift_fleet.tables import RolloutDeviceRow, RolloutEventRow, RolloutRow

log = logging.getLogger(__name__)

_TICK_S = 1.0
#: Reports of a large fleet come in bursts: look at most this often, seconds.
_BREATH_S = 0.1


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
            try:
                if self._lead.leads:
                    self.step()
            except EdgeliftError as error:
                log.warning("rollouts wait code=%s %s", error.code, error.message)
            except Exception:
                log.exception("a fault in the rollout controller")  # the next tick looks again
            self._stopping.wait(_BREATH_S)
            self._work.wait(_TICK_S)

    def step(self) -> None:
        """Look at every rollout that is under way, and do what is due."""
        with self._db.read() as session:
            active = sa.select(RolloutRow.number).where(RolloutRow.state.not_in(TERMINAL))
            numbers = list(session.scalars(active.order_by(RolloutRow.number)))
        for number in numbers:
            try:
                if self._due(number):
                    self._act(number)
            except ContractError as error:  # what is stored of it can't be read: the others go on
                log.warning("the rollout r%d waits code=%s %s", number, error.code, error.message)

    def _due(self, number: int) -> bool:
        """Would acting change anything? Judged without the write lock: mostly it wouldn't."""
        with self._db.read() as session:
            row = session.get_one(RolloutRow, number)
            found = standings(session, row)
            news = any(_is_news(r, f) for r, f in found.values())
            decision = self._decide(session, row, found)
        quiet = isinstance(decision, Hold) and not decision.join and decision.reason == row.reason
        return news or not (quiet or row.state == "paused")

    def _act(self, number: int) -> None:
        with self._lead.write(SITE) as session:
            row = session.get_one(RolloutRow, number)
            found = standings(session, row)
            for device, (kept, standing) in found.items():
                _remember(session, row, device, kept, standing)
            decision = self._decide(session, row, found)
            changed = self._carry_out(session, row, decision, found)
        for device in changed:
            self._changes.announce(device)

    def _decide(
        self, session: Session, row: RolloutRow, found: dict[str, tuple[RolloutDeviceRow, Standing]]
    ) -> Decision:
        cohort = cohort_of(session, row, self._seen)
        return decide(plan_of(row), observe(row, found, cohort), time.time())

    def _carry_out(
        self,
        session: Session,
        row: RolloutRow,
        decision: Decision,
        found: dict[str, tuple[RolloutDeviceRow, Standing]],
    ) -> list[str]:
        """Do what was decided; returns the devices whose assignment changed."""
        match decision:
            case Advance(wave, devices, reason):
                row.wave, row.reason, row.changed_at = wave, reason, time.time()
                note(session, row, "wave", reason)
                return _assign(session, row, devices)
            case Hold(reason, join):
                if row.state != "paused" and row.reason != reason:
                    row.reason, row.changed_at = reason, time.time()
                if join:
                    note(session, row, "joined", reason)
                return _assign(session, row, join)
            case Pause(reason):
                set_state(session, row, "paused", reason)
            case RollBack(devices, reason):
                set_state(session, row, "rolling-back", reason)
                return restore(session, row, [found[device][0] for device in devices])
            case Finish(state, reason):
                # Of a rollback the reason that began it is what people need to read.
                set_state(session, row, state, _why(session, row) if state == "rolled-back" else reason)
        return []


def _assign(session: Session, rollout: RolloutRow, devices: Iterable[str]) -> list[str]:
    changed = []
    policy = decode_row(rollout.policy, Policy, owner=rollout_id(rollout.number), what="policy")
    name, release = rollout_id(rollout.number), f"{rollout.model}@{rollout.version}"
    for device in devices:
        row = get_device(session, device)
        now = time.time()
        made = RolloutDeviceRow(
            rollout=rollout.number, device=device, wave=rollout.wave, artifact="", revision=0, assigned_at=now,
            previous="", status="waiting", status_at=now, going_back=False, code="", message="",
        )  # fmt: skip
        session.add(made)
        try:
            wanted = pick(session, row, release, policy, rollout=name)
            previous = previous_of(session, device, rollout.slot, wanted)
            made.previous = codec.canonical_json(previous).decode() if previous else ""
            made.revision = set_slot(session, row, rollout.slot, wanted) or 0
            made.artifact = wanted.artifact
            changed.append(device)
        except UnreadableRow as error:  # none of the release's failures
            made.status, made.message = "superseded", str(error)
        except ContractError as error:
            made.status, made.code, made.message = "failed", error.code, error.message
            note(session, rollout, "failed", f"{device}: {error.message}")
    return changed


def _event_text(device: str, standing: Standing) -> str:
    plain = {
        "waiting": "has to answer again.",
        "updating": "is updating.",
        "committed": "served it through its probation.",
        "restored": "has its previous version again.",
    }
    if standing.status in plain:
        return f"{device} {plain[standing.status]}"
    return f"{device}: {standing.message} ({standing.code})" if standing.code else f"{device}: {standing.message}"


def _why(session: Session, row: RolloutRow) -> str:
    query = sa.select(RolloutEventRow.text).filter_by(rollout=row.number, kind="rolling-back")
    return session.scalar(query.order_by(RolloutEventRow.id.desc()).limit(1)) or row.reason


def _is_news(row: RolloutDeviceRow, standing: Standing) -> bool:
    return (row.status, row.code, row.message) != (standing.status, standing.code, standing.message)


def _remember(
    session: Session, rollout: RolloutRow, device: str, row: RolloutDeviceRow, standing: Standing
) -> None:
    if not _is_news(row, standing):
        return
    if row.status != standing.status:
        row.status_at = time.time()
        note(session, rollout, standing.status, _event_text(device, standing))
    row.status, row.code, row.message = standing.status, standing.code, standing.message
    row.committed_by = standing.committed_by or row.committed_by
