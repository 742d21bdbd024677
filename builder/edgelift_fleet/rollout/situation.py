"""The words of a rollout: where a device stands in it, in which state it is, and all that a decision may depend on.

Rules: *offline* (not there, and not heard to have begun) is neither failed nor committed; *silent* (there, or heard to
have begun, and without an end at its deadline) is a failure. What stands outside a rollout's arithmetic counts for
nothing in it: no share, no failure, no wait. Not here: how a status is found (`judge`), and what follows (`decide`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from edgelift_fleet.rollout.pace import Trait

#: Of a device that a rollout reached:
#: `waiting` it is there and has not begun · `offline` it is not there and has not begun · `updating` it has begun ·
#: `committed` · `failed` · `silent` no end at its deadline · `superseded` another assignment took its place ·
#: `left` it is no longer selected · `unsuited` nothing of the release can be assigned to it · `held` a pause took back
#: what it had not begun · `restored` it has again what it had before · `let-go` a person, or the end, released it.
DeviceStatus = Literal[
    "waiting", "offline", "updating", "committed", "failed", "silent",
    "superseded", "left", "unsuited", "held", "restored", "let-go",
]  # fmt: skip

#: `rolled-back`: every device that the rollout changed is back. `wave-rolled-back`: earlier waves keep the release.
RolloutState = Literal[
    "scheduled", "running", "paused", "rolling-back", "rolled-back", "wave-rolled-back", "done", "cancelled"
]

TERMINAL: frozenset[RolloutState] = frozenset({"rolled-back", "wave-rolled-back", "done", "cancelled"})

#: Outside the arithmetic.
OUTSIDE: frozenset[DeviceStatus] = frozenset({"superseded", "left", "unsuited", "let-go"})
BAD: frozenset[DeviceStatus] = frozenset({"failed", "silent"})
UNDER_WAY: frozenset[DeviceStatus] = frozenset({"waiting", "updating"})
#: A device that goes back, and of which nothing more is awaited.
HOME: frozenset[DeviceStatus] = frozenset({"restored", "superseded", "let-go"})
#: There is nothing of the rollout's on it to take back.
UNTOUCHED: frozenset[DeviceStatus] = frozenset({"superseded", "unsuited", "restored"})

#: What a rollback takes back: nothing yet, the current wave and all that failed, or all.
Scope = Literal["", "wave", "all"]


@dataclass(frozen=True)
class DeviceSeen:
    """A device that the rollout reached, as observed.

    Attributes:
        device: its id.
        wave: the wave that reached it, from 0.
        status: where it stands.
        since: since when, host's clock, seconds since 1970.
        assigned_at: when it was last assigned something by this rollout.
        reason: of a failure; for people.
        going_back: was it assigned its previous version?
        code: of a failure.
        tried: how often it was asked again after a failure.
    """

    device: str
    wave: int
    status: DeviceStatus
    since: float
    assigned_at: float
    reason: str = ""
    going_back: bool = False
    code: str = ""
    tried: int = 0


@dataclass(frozen=True)
class ServedSoFar:
    """How far the devices of a wave and its controls are with the requests without which they aren't compared.

    Attributes:
        ready: is nobody waited for any more?
        text: how many have served, for people.
    """

    ready: bool
    text: str = ""


@dataclass(frozen=True)
class GateSeen:
    """What the gate of the current wave came to so far.

    Attributes:
        tested: is the wave compared at all? Not without controls, with too few devices, or once a person overruled it.
        taken: the number of the newest look, from 1; 0 before the first.
        breach: is the wave worse than allowed?
        text: what the newest look said, or why nothing is compared.
        unmeasured: had too few devices served enough by the newest look, so that it shows nothing?
        served: how many have by now; None where nobody has counted.
    """

    tested: bool
    taken: int = 0
    breach: bool = False
    text: str = ""
    unmeasured: bool = False
    served: ServedSoFar | None = None


@dataclass(frozen=True)
class Observations:
    """All that a decision may depend on.

    Attributes:
        state: of the rollout.
        wave: the current one, from 0; -1 before the first.
        cohort: ids of all devices that are selected now, in the order of choice.
        devices: those that the rollout reached.
        away: those of the cohort that are not there now: others come first.
        elsewhere: devices that are selected, but belong to another rollout of the same slot → its id; none of the cohort.
        back: what a rollback takes back, once there is one.
        approved: how many waves may have begun, by what a person has approved; the first needs nobody.
        traits: of devices, what their pace depends on; of none where the plan has no limits.
        cause: why devices go back, while they do; for people.
        gate: of the current wave; None where the plan asks for none.
        listening_since: when devices could be heard again after a time in which they could not, seconds since 1970.
    """

    state: RolloutState
    wave: int
    cohort: Sequence[str]
    devices: Sequence[DeviceSeen] = field(default=())
    away: frozenset[str] = frozenset()
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    back: Scope = ""
    approved: int = 1
    traits: Mapping[str, Trait] = field(default_factory=dict)
    cause: str = ""
    gate: GateSeen | None = None
    listening_since: float = 0.0

    def counted(self) -> list[DeviceSeen]:
        """The devices within the arithmetic."""
        return [d for d in self.devices if d.status not in OUTSIDE]

    def size(self) -> int:
        """How many devices shares are taken of: the selected ones, without those outside the arithmetic."""
        outside = {d.device for d in self.devices if d.status in OUTSIDE}
        return sum(device not in outside for device in self.cohort)

    def free(self) -> list[str]:
        """Who can be reached next, those that are there first: who was held back, then who was not reached yet."""
        held = {d.device for d in self.devices if d.status == "held"}
        reached = {d.device for d in self.devices}
        found = [d for d in self.cohort if d in held] + [d for d in self.cohort if d not in reached]
        return sorted(found, key=lambda device: device in self.away)
