"""Rollouts as rows: start one, see how it stands, and the commands that a person may give."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract import codec
from edgelift_contract.assignment import Policy, SlotAssignment
from edgelift_contract.errors import ContractError
from edgelift_contract.ids import check_name
from edgelift_fleet.cohorts import select_ids
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.messages import PlanOptions, RolloutDeviceView, RolloutEvent, RolloutRequest, RolloutView
from edgelift_fleet.registry import get_release
from edgelift_fleet.rollout.decide import TERMINAL, DeviceStatus
from edgelift_fleet.rollout.observe import Standing, rollout_id, standings
from edgelift_fleet.rollout.plan import Plan, StoredPlan, read_plan, to_plan
from edgelift_fleet.rollout.restore import restore
from edgelift_fleet.rows import read_row
from edgelift_fleet.tables import RolloutDeviceRow, RolloutEventRow, RolloutRow

#: command → states in which it may be given.
_ALLOWED = {
    "pause": {"running"},
    "resume": {"paused"},
    "cancel": {"running", "paused"},
    "rollback": {"running", "paused", "cancelled", "done", "rolled-back"},  # the last: earlier waves still have it
}


def plan_of(row: RolloutRow) -> Plan:
    """The plan of a rollout."""
    return to_plan(read_plan(row.plan, owner=rollout_id(row.number)))


class Rollouts:
    """The rollouts of a site, for operators; what follows from them is the controller's business."""

    def __init__(
        self, db: Database, seen: LastSeen, *, wake: Callable[[], None], announce: Callable[[str], None]
    ) -> None:
        """Bind.

        Args:
            db: of the site.
            seen: when devices were last heard of.
            wake: called when there is something for the controller to do.
            announce: told of each device whose assignment changed.
        """
        self._db, self._seen, self._wake, self._announce = db, seen, wake, announce

    def start(self, request: RolloutRequest) -> RolloutView:
        """Begin a rollout.

        Raises:
            ContractError: `not-found` (release, or no device is selected), `malformed`, `bad-id`, or `conflict`
                when another rollout is under way on the same slot of one of these devices.
        """
        plan = _to_keep(request)
        now = time.time()
        with self._db.write(SITE) as session:
            release = get_release(session, request.release)
            slot = check_name("slot", request.slot or release.model)
            cohort = select_ids(session, request.to)
            if not cohort:
                raise ContractError(
                    "not-found",
                    f"{request.to} selects no device.",
                    hint="Tag some first: edgelift tag DEVICE KEY.",
                )
            self._refuse_second(session, slot, set(cohort))
            row = RolloutRow(
                model=release.model, version=release.version, slot=slot, selector=request.to,
                plan=codec.canonical_json(plan).decode(), policy=codec.canonical_json(request.policy).decode(),
                state="running", wave=-1, reason="It begins.", created_at=now, changed_at=now,
            )  # fmt: skip
            session.add(row)
            session.flush()
            note(session, row, "started", f"{request.release} to {request.to}, waves {','.join(request.waves)}.")
            view = self._view(session, row)
        self._wake()
        return view

    def command(self, name: str, command: str) -> RolloutView:
        """`pause`, `resume`, `cancel` or `rollback`.

        Raises:
            ContractError: `not-found`, or `conflict` when the rollout's state does not allow it.
        """
        changed: list[str] = []
        with self._db.write(SITE) as session:
            row = get_rollout(session, name)
            if row.state not in _ALLOWED[command]:
                raise ContractError("conflict", f"The rollout {name} is {row.state}: it cannot {_SAY[command]}.")
            if command == "rollback":
                reached = session.scalars(sa.select(RolloutDeviceRow).filter_by(rollout=row.number)).all()
                changed = restore(session, row, reached)
            state = {"pause": "paused", "resume": "running", "cancel": "cancelled", "rollback": "rolling-back"}
            set_state(session, row, state[command], f"By an operator's {command}.")
            view = self._view(session, row)
        for device in changed:
            self._announce(device)
        self._wake()
        return view

    def list(self) -> list[RolloutView]:
        """All rollouts, newest first."""
        with self._db.read() as session:
            rows = session.scalars(sa.select(RolloutRow).order_by(RolloutRow.number.desc()).limit(200))
            return [self._view(session, row) for row in rows]

    def show(self, name: str) -> RolloutView:
        """One rollout; raises ContractError `not-found`."""
        with self._db.read() as session:
            return self._view(session, get_rollout(session, name))

    def _refuse_second(self, session: Session, slot: str, cohort: set[str]) -> None:
        active = sa.select(RolloutRow).where(RolloutRow.slot == slot, RolloutRow.state.not_in(TERMINAL))
        for row in session.scalars(active):
            shared = cohort & set(select_ids(session, row.selector))
            if shared:
                raise ContractError(
                    "conflict",
                    f"The rollout {rollout_id(row.number)} of {row.model}@{row.version} is {row.state} "
                    f"on the same slot of {min(shared)}.",
                    hint=f"Wait for it, or: edgelift rollout cancel {rollout_id(row.number)}.",
                )

    def _view(self, session: Session, row: RolloutRow) -> RolloutView:
        kept = read_plan(row.plan, owner=rollout_id(row.number))
        found = standings(session, row)
        # What has ended is shown as it ended: later assignments are another story.
        ended = row.state in TERMINAL
        devices = [_device_view(r, _as_kept(r) if ended else f) for r, f in found.values()]
        events = session.scalars(
            sa.select(RolloutEventRow).filter_by(rollout=row.number).order_by(RolloutEventRow.id)
        )
        return RolloutView(
            id=rollout_id(row.number), release=f"{row.model}@{row.version}", slot=row.slot, selector=row.selector,
            waves=kept.waves, soak_s=kept.soak_s, max_failures=kept.max_failures, deadline_s=kept.deadline_s,
            policy=msgspec.json.decode(row.policy, type=Policy), state=row.state, wave=row.wave + 1,
            reason=row.reason, created_at=row.created_at, changed_at=row.changed_at,
            cohort=len(select_ids(session, row.selector)), reached=len(devices),
            committed=sum(d.status == "committed" for d in devices),
            failed=sum(d.status == "failed" or bool(d.code) for d in devices),
            devices=sorted(devices, key=lambda d: (d.wave, d.device)),
            events=[RolloutEvent(e.at, e.kind, e.text) for e in events],
        )  # fmt: skip


_SAY = {"pause": "be paused", "resume": "be resumed", "cancel": "be cancelled", "rollback": "be rolled back"}


def get_rollout(session: Session, name: str) -> RolloutRow:
    """A rollout by its id, as `r7`; raises ContractError `not-found`."""
    match = re.match(r"^r(\d{1,9})\Z", name)
    row = session.get(RolloutRow, int(match[1])) if match else None
    if row is None:
        raise ContractError("not-found", f"There is no rollout {name!r}.", hint="See: edgelift rollout list.")
    return row


def set_state(session: Session, row: RolloutRow, state: str, reason: str) -> None:
    """Put a rollout into a state, and note why."""
    row.state, row.reason, row.changed_at = state, reason, time.time()
    note(session, row, state, reason)


def note(session: Session, row: RolloutRow, kind: str, text: str) -> None:
    """Add to a rollout's story."""
    session.add(RolloutEventRow(rollout=row.number, at=time.time(), kind=kind, text=text))


def _to_keep(request: RolloutRequest) -> StoredPlan:
    """The plan of a request.

    Raises:
        ContractError: `malformed`.
    """
    kept = StoredPlan(
        waves=request.waves, **{name: getattr(request, name) for name in PlanOptions.__struct_fields__}
    )
    to_plan(kept)
    if kept.deadline_s <= request.policy.probation_s:
        raise ContractError(
            "malformed",
            f"The deadline of {kept.deadline_s:g} s is not longer than the probation of "
            f"{request.policy.probation_s:g} s.",
            hint="A device may answer only after its probation: raise --deadline.",
        )
    return kept


def _as_kept(row: RolloutDeviceRow) -> Standing:
    return Standing(msgspec.convert(row.status, DeviceStatus), row.code, row.message, row.committed_by)


def _device_view(row: RolloutDeviceRow, standing: Standing) -> RolloutDeviceView:
    previous = read_row(row.previous, SlotAssignment, owner=row.device, what="", into=[]) if row.previous else None
    return RolloutDeviceView(
        device=row.device,
        wave=row.wave + 1,
        status=standing.status,
        status_at=row.status_at,
        artifact=row.artifact,
        revision=row.revision,
        code=standing.code,
        message=standing.message,
        committed_by=standing.committed_by or (row.committed_by if standing.status == "committed" else ""),
        previous=f"{previous.model}@{previous.version}" if previous else "",
    )
