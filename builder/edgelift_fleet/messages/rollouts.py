"""Rollouts as they stand, and what a person orders."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from edgelift_contract.assignment import Policy
from edgelift_fleet.messages.asked import DeviceNames
from edgelift_fleet.messages.plans import PlanOptions


class RolloutDeviceView(msgspec.Struct, frozen=True):
    """A device that a rollout reached.

    `status`: `waiting` (there, not begun), `offline` (not there, not begun), `updating`, `committed`, `failed`, `silent`
    (no end at its deadline), `superseded` (another assignment took its place), `left` (no longer selected), `unsuited`
    (nothing of the release can be assigned to it), `held` (taken back by a pause), `restored` or `let-go`.
    `committed_by` is what its commit rests on: `requests` that the host has seen in its windows, or its `goldens` alone.
    """

    device: str
    wave: int
    status: str
    status_at: float
    artifact: str
    revision: int
    code: str
    message: str
    previous: str
    committed_by: str = ""


class RolloutEvent(msgspec.Struct, frozen=True):
    """Something that happened in a rollout.

    Attributes:
        at: seconds since 1970.
        kind: the rollout's new state, devices' new status, or `wave`, `joined`, `held`, `elsewhere`, `let-go`,
            `site-restored`.
        text: for people; of many devices it names a few.
        seq: grows with every event of a site.
        who, why: of an order that a person gave.
        devices: outcome → all the devices that this is about; of an end every one that was selected or reached.
    """

    at: float
    kind: str
    text: str
    seq: int = 0
    who: str = ""
    why: str = ""
    devices: dict[str, list[str]] = {}


class LookContrast(msgspec.Struct, frozen=True):
    """One comparison of a look: by how much members lie above controls of their class (all together where it is empty).

    `shift` and `allowed` are shares: of latency by how much slower, of errors and silence the difference of two shares.
    `p` is the odds of this rank alone, among all draws. Between `low` and `high` the shift lies with 95 %, by this look
    alone; None where too few devices counted, and of silence.
    """

    series: str
    hardware_class: str
    shift: float
    allowed: float
    members: int
    controls: int
    p: float
    low: float | None = None
    high: float | None = None


class LookFigures(msgspec.Struct, frozen=True):
    """What a look came to, in figures.

    Attributes:
        of: how many looks are planned.
        boards, controls: that were to be compared; `served`, `controls_served`: of those, with their least requests.
        p: odds of something as bad by then in any of the comparisons, were nothing wrong; `threshold`: from which on it is a
            breach.
        contrasts: the worst comparisons, worst first.
    """

    of: int = 0
    boards: int = 0
    served: int = 0
    controls: int = 0
    controls_served: int = 0
    p: float = 1.0
    threshold: float = 0.0
    contrasts: list[LookContrast] = []


class RolloutLook(msgspec.Struct, frozen=True):
    """A look that the gate of a wave took; `wave` and `look` count from 1, `at` is seconds since 1970.

    `unmeasured`: too few boards had served enough for it to show anything.
    """

    wave: int
    look: int
    at: float
    breach: bool
    unmeasured: bool
    text: str
    figures: LookFigures


class RolloutSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout in a list.

    Attributes:
        wave: counts from 1; 0 before the first.
        state: `scheduled`, `running`, `paused`, `rolling-back`, `rolled-back` (all that it changed are back),
            `wave-rolled-back` (earlier waves keep the release), `done` or `cancelled`.
        cohort: devices that are selected, at the last look.
        reached: devices that it reached, in whatever status; `counts` has them by status.
        committed, offline: of those.
        failed: devices that failed or did not answer in time, also where they are back by now.
        due_at: when time alone will change something, seconds since 1970; 0 for never.
        name: as a person named it; may be empty.
    """

    id: str
    release: str
    slot: str
    selector: str
    waves: list[str]
    soak_s: float
    max_failures: int | str
    deadline_s: float
    policy: Policy
    state: str
    wave: int
    reason: str
    created_at: float
    changed_at: float
    cohort: int
    reached: int
    committed: int
    failed: int
    offline: int = 0
    counts: dict[str, int] = {}
    due_at: float = 0.0
    keep_earlier: bool = False
    name: str = ""


class RolloutView(RolloutSummary, frozen=True, kw_only=True):
    """A rollout with devices that it reached, by wave and id, and what happened.

    Attributes:
        devices: as many as were asked for.
        more: how many others match what was asked for.
        events: the last 500, oldest first.
        now: the host's clock, seconds since 1970, to count down to `due_at` by.
        plan: all that was asked for; `seed` of its draw, None where there is none.
        looks: the last 100 that gates took, oldest first.
    """

    devices: list[RolloutDeviceView]
    events: list[RolloutEvent]
    more: int = 0
    now: float = 0.0
    plan: PlanOptions | None = None
    seed: int | None = None
    looks: list[RolloutLook] = []


class RolloutOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a person says with a command: why, of `let-go` which devices, and of `approve` which wave may begin, from 1: left
    out, or 0, it is the one that waits.
    """

    why: Annotated[str, Meta(max_length=2000)] = ""
    devices: DeviceNames = []
    wave: Annotated[int, Meta(ge=0, le=10_000)] = 0
