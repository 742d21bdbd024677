"""Who of a wave and its controls has served enough to be compared, counted in the database: a fixed number of statements.

The counts are those of `readings`, without the histograms: it is asked again and again while a wave waits for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.assignment import Policy
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.rollout.gates.gathered import Gathered, WaveBoard, gather
from edgelift_fleet.rollout.gates.wave import Drawn
from edgelift_fleet.rollout.looking import WINDOW_S
from edgelift_fleet.rollout.plan import Plan
from edgelift_fleet.rollout.readings import who_is_there
from edgelift_fleet.tables import RolloutDeviceRow, RolloutRow, SlotStateRow
from edgelift_fleet.telemetry.requests import Requests, requests_by_device

_NOTHING: Mapping[bool, Requests] = {}


def gathered(
    session: Session, row: RolloutRow, plan: Plan, policy: Policy, drawn: Drawn, alpha: float, *, committed: Set[str],
    before: tuple[float, float], since: tuple[float, float], seen: LastSeen, now: float,
) -> Gathered:  # fmt: skip
    """How far a wave is with its requests.

    Args:
        session: for reading.
        row: of the rollout.
        plan: how it is to go.
        policy: how each device updates.
        drawn: the wave and its controls.
        alpha: false alarms that the wave may spend.
        committed: members that have: of the others nothing is awaited here, they catch up later or failed.
        before: the stretch before the wave: from and to, seconds since 1970.
        since: the stretch after its swaps.
        seen: when devices were last heard of.
        now: seconds since 1970.
    """
    classes = {**drawn.controls, **drawn.members}
    earlier = requests_by_device(session, row.slot, classes, start=before[0], end=before[1], last_s=WINDOW_S)
    later = requests_by_device(session, row.slot, classes, start=since[0], end=since[1])
    filled, there = _filled(session, row, drawn), who_is_there(session, classes, seen, now)
    boards = Counter[WaveBoard]()
    for device, name in classes.items():
        member = device in drawn.members
        if member and device not in committed:
            continue
        had, has = earlier.get(device, _NOTHING), later.get(device, _NOTHING)
        board = WaveBoard(
            name, member, first=device not in filled, before=_served(plan, had, had), since=_served(plan, had, has),
            there=device in there, idle=not _all(has),
        )  # fmt: skip
        boards[board] += 1
    return gather(boards, alpha, plan.gate_min_requests, idle_allowed=not policy.probation_min_requests)


def _served(plan: Plan, before: Mapping[bool, Requests], since: Mapping[bool, Requests]) -> bool:
    """Are there the requests without which `gates.measure` leaves a board out? Silence needs none."""
    least = max(plan.gate_min_requests, 1)
    if "latency" in plan.gates:
        return any(t in before and min(before[t].ok, one.ok) >= least for t, one in since.items())
    if "errors" in plan.gates:
        return min(_all(before), _all(since)) >= least
    return True


def _all(states: Mapping[bool, Requests]) -> int:
    return sum(one.ok + one.errors for one in states.values())


def _filled(session: Session, row: RolloutRow, drawn: Drawn) -> Set[str]:
    """Those that had something in the slot before the rollout reached them."""
    mine = sa.select(RolloutDeviceRow.device).where(
        RolloutDeviceRow.rollout == row.number, RolloutDeviceRow.previous != ""
    )
    slot = sa.select(SlotStateRow.device).where(SlotStateRow.slot == row.slot, SlotStateRow.artifact != "")
    return (set(session.scalars(mine)) & drawn.members.keys()) | (
        set(session.scalars(slot)) & drawn.controls.keys()
    )
