"""What a rollout can see: its devices' statuses, read from assignments and reports.

A device has *committed* only when it says so of this rollout's artifact, for this rollout, at this revision or
later, and serves it now. Anything less is not success.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.assignment import Policy, SlotAssignment
from edgelift_contract.report import UpdateReport
from edgelift_fleet.assignments import read_assignment, revisions_spent
from edgelift_fleet.cohorts import select_members
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.rollout.decide import DeviceSeen, DeviceStatus, Observations, RolloutState
from edgelift_fleet.rollout.draw import order
from edgelift_fleet.rollout.evidence import Belief, Claim, judge_claims
from edgelift_fleet.rollout.plan import read_plan
from edgelift_fleet.rows import Fault, decode_row, read_row
from edgelift_fleet.tables import DeviceRow, RolloutDeviceRow, RolloutRow, SlotStateRow, UpdateHistoryRow

_OF_ROLLOUT = "Cancel it: edgelift rollout cancel."


@dataclass(frozen=True)
class Standing:
    """Where a device stands, with the code and message of a failure, or what its commit rests on."""

    status: DeviceStatus
    code: str = ""
    message: str = ""
    committed_by: str = ""


def rollout_id(number: int) -> str:
    """The name of a rollout, as it travels in assignments: `r7`."""
    return f"r{number}"


def judge_device(
    row: RolloutDeviceRow,
    *,
    rollout: str,
    desired: SlotAssignment | None,
    revision_seen: int,
    serving: str,
    update: UpdateReport | None,
) -> Standing:
    """Where a device of a rollout stands. Pure.

    Args:
        row: what the rollout did with it.
        rollout: its id.
        desired: what the slot should run now; None for nothing.
        revision_seen: newest assignment that the device has seen.
        serving: artifact that the slot serves, as reported; empty for none.
        update: the newest update that this rollout asked for, as reported.
    """
    if row.going_back:
        previous = msgspec.json.decode(row.previous, type=SlotAssignment).artifact if row.previous else ""
        if (desired.rollout if desired else rollout) != rollout:
            return Standing("superseded", message="Another assignment took its place.")
        back = revision_seen >= row.revision and serving == previous
        return Standing("restored" if back else "updating", row.code, row.message)
    if not row.artifact and row.status == "superseded":
        return Standing("superseded", message=row.message)  # nothing could be assigned to it
    if not row.artifact:
        return Standing("failed", row.code, row.message)  # no artifact of the release suits it
    if desired is None or desired.rollout != rollout:
        return Standing("superseded", message="Another assignment took its place.")
    if update is None or update.artifact != row.artifact or update.revision < row.revision:
        return Standing("waiting")
    if update.outcome == "in-progress":
        return Standing("updating")
    if update.outcome in ("refused", "rolled-back", "inconsistent"):
        return Standing("failed", update.code, update.message or update.outcome)
    if update.outcome != "committed":
        return Standing("waiting")
    if serving != row.artifact:
        return Standing("failed", "crashed-in-service", "It committed, but serves something else now.")
    return Standing("committed")


def standings(session: Session, rollout: RolloutRow) -> dict[str, tuple[RolloutDeviceRow, Standing]]:
    """Every device that a rollout reached, and where it stands now."""
    name = rollout_id(rollout.number)
    now = time.time()
    rows = session.scalars(sa.select(RolloutDeviceRow).filter_by(rollout=rollout.number)).all()
    updates: dict[str, UpdateReport] = {}
    faults: dict[str, list[Fault]] = {}
    for past in session.scalars(
        sa.select(UpdateHistoryRow).filter_by(rollout=name, slot=rollout.slot).order_by(UpdateHistoryRow.id)
    ):
        into = faults.setdefault(past.device, [])
        read = read_row(past.body, UpdateReport, owner=past.device, what="update history", into=into)
        if read is not None:
            updates[past.device] = read
    found: dict[str, tuple[RolloutDeviceRow, Standing]] = {}
    claims: dict[str, Claim] = {}
    for row in rows:
        into = faults.setdefault(row.device, [])
        assignment = read_assignment(session, row.device, into)
        device = session.get(DeviceRow, row.device)
        slot = session.get(SlotStateRow, (row.device, rollout.slot))
        if device is not None and (spent := revisions_spent(device)):
            into.append(spent)
        if row.previous:
            read_row(row.previous, SlotAssignment, owner=row.device, what="previous assignment", into=into)
        if into:
            found[row.device] = (row, _set_apart(into[0]))
            continue
        standing = judge_device(
            row,
            rollout=name,
            desired=assignment.slots.get(rollout.slot) if assignment else None,
            revision_seen=device.revision_seen if device else 0,
            serving=slot.artifact if slot else "",
            update=updates.get(row.device),
        )
        found[row.device] = (row, standing)
        update = updates.get(row.device)
        if standing.status == "committed" and row.status != "committed" and update is not None:
            claims[row.device] = Claim(update, row.artifact, row.assigned_at)
    if claims:
        policy = decode_row(rollout.policy, Policy, owner=name, what="policy", hint=_OF_ROLLOUT)
        for claimant, belief in judge_claims(session, rollout.slot, policy, claims, now).items():
            found[claimant] = (found[claimant][0], _believed(belief))
    return found


def _believed(belief: Belief) -> Standing:
    """What a claim of having committed makes of a device."""
    if belief.doubt:
        return Standing("updating", message=f"It says committed; {belief.doubt}.")
    return Standing("committed", committed_by=belief.by)


def _set_apart(fault: Fault) -> Standing:
    """A device that can't be judged for a reason of its own: no failure of the release."""
    return Standing("superseded", message=f"{fault.message} {fault.hint}")


def observe(
    rollout: RolloutRow, found: dict[str, tuple[RolloutDeviceRow, Standing]], cohort: list[str]
) -> Observations:
    """What `rollout.decide` needs to know."""
    devices = [
        DeviceSeen(
            device, row.wave, standing.status, row.status_at, row.assigned_at, _reason(standing), row.going_back
        )
        for device, (row, standing) in sorted(found.items())
    ]
    return Observations(msgspec.convert(rollout.state, RolloutState), rollout.wave, cohort, devices)


def cohort_of(session: Session, rollout: RolloutRow, seen: LastSeen) -> list[str]:
    """The ids that a rollout means now, in the order in which its next devices are drawn."""
    members = select_members(session, rollout.selector, seen, time.time())
    seed = read_plan(rollout.plan, owner=rollout_id(rollout.number)).seed
    if seed is None:  # from before there was a draw: it goes on as it began
        return [m.device for m in sorted(members, key=lambda m: (not m.online, m.device))]
    return order(members, seed, rollout.wave + 1)


def _reason(standing: Standing) -> str:
    return f"{standing.message} ({standing.code})" if standing.code else standing.message
