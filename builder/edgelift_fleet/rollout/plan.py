"""A rollout's plan: what was asked for, as `decide` reads it and as its row keeps it.

A plan is frozen when the rollout starts. A field that came later has a default that means what rollouts did before
it was there, so that a row of any age is still read. Not here: what follows from a plan (`decide`), and which
devices it is about (`cohorts`, `draw`).
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from edgelift_contract.errors import ContractError
from edgelift_contract.text import clean
from edgelift_fleet.messages import PlanOptions, RolloutRequest
from edgelift_fleet.rollout.windows import MaintenanceWindow, longest_s, open_zone, parse_window
from edgelift_fleet.rows import decode_row

#: Of a plan that bounds them at all: devices a minute (one in a week), and bytes a second.
LEAST_RATE, LEAST_BANDWIDTH = 1e-4, 1.0


@dataclass(frozen=True)
class Wave:
    """A cumulative share of the cohort: a `count` of devices, or a `share` of 1."""

    count: int = 0
    share: float = 0.0

    def reach(self, cohort: int) -> int:
        """How many devices of a cohort this wave reaches in all; a share reaches at least one."""
        wanted = math.ceil(round(self.share * cohort, 9)) if self.share else self.count
        return min(max(wanted, 1), cohort)


@dataclass(frozen=True)
class Plan:
    """What a rollout was asked to do.

    Attributes:
        waves: in order; the last reaches all.
        soak_s: how long a wave must have been committed, seconds.
        max_failures: failed devices that are tolerated, over the whole rollout.
        deadline_s: how long a device may take, seconds from its assignment.
        max_failures_share: the same as a share of the cohort, 0 to 1; the larger of the two counts.
        max_offline: devices that may be offline; None for any number.
        max_offline_share: the same as a share of the cohort; None for any number.
        on_breach: what more failures than tolerated bring.
        keep_earlier: do waves that were proven keep the release when a later one goes back?
        approval: does each wave after the first wait for a person's word?
        retries: how often a device that failed for a passing reason is asked again.
        retry_after_s: before the first such time; twice as long before each further one, seconds.
        start_at: not before, seconds since 1970; 0 for at once.
        concurrency: devices that may be under way at once; 0 for any number.
        rate_per_min: devices that may begin in a minute; 0 for any number.
        bandwidth_bytes_s: bytes that may be asked for in a second, over the fleet; 0 for any number.
        late_joiners: are devices that are selected later taken in?
        seed: of the order in which devices are drawn; None for rollouts from before there was one.
        windows: when devices may begin; always without one.
        timezone: of devices that don't tell theirs; UTC when empty.
        update_s: how long an update takes at least, for windows: its probation, seconds. No part of what is stored.
        gates, gate_alpha, gate_slower, gate_more_errors, gate_looks, gate_min_requests, gate_before_s, gate_wait_s,
            gate_unmeasured, placebo: how waves are compared with their controls; see `PlanOptions`.
    """

    waves: tuple[Wave, ...]
    soak_s: float = 0.0
    max_failures: int = 0
    deadline_s: float = 3600.0
    max_failures_share: float = 0.0
    max_offline: int | None = None
    max_offline_share: float | None = None
    on_breach: Literal["rollback", "pause"] = "rollback"
    keep_earlier: bool = False
    approval: bool = False
    retries: int = 0
    retry_after_s: float = 60.0
    start_at: float = 0.0
    concurrency: int = 0
    rate_per_min: float = 0.0
    bandwidth_bytes_s: float = 0.0
    late_joiners: Literal["in", "out"] = "in"
    seed: int | None = None
    windows: tuple[MaintenanceWindow, ...] = ()
    timezone: str = ""
    update_s: float = 0.0
    gates: tuple[str, ...] = ("latency", "errors", "silence")
    gate_alpha: float = 0.01
    gate_slower: float = 0.05
    gate_more_errors: float = 0.005
    gate_looks: int = 6
    gate_min_requests: int = 100
    gate_before_s: float = 3600.0
    gate_wait_s: float = 3600.0
    gate_unmeasured: Literal["pause", "advance"] = "pause"
    placebo: bool = False

    def is_paced(self) -> bool:
        """Does it bound when devices may begin?"""
        return bool(
            self.start_at or self.windows or self.concurrency or self.rate_per_min or self.bandwidth_bytes_s
        )

    def failures_allowed(self, cohort: int) -> int:
        """How many failed devices a cohort of this size puts up with."""
        return max(self.max_failures, _part(self.max_failures_share, cohort))

    def offline_allowed(self, cohort: int) -> int | None:
        """How many devices of a cohort of this size may be offline; None for any number."""
        if self.max_offline is None and self.max_offline_share is None:
            return None
        return max(self.max_offline or 0, _part(self.max_offline_share or 0.0, cohort))


class StoredPlan(PlanOptions, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=False):
    """A plan as its row keeps it: as it was written, and the seed of its draw."""

    waves: list[str]
    seed: int | None = None


#: What a plan has as it was written.
_AS_THEY_ARE = {field.name for field in fields(Plan)} & set(StoredPlan.__struct_fields__) - {
    "waves", "max_failures", "max_offline", "windows", "gates",
}  # fmt: skip


def to_plan(kept: StoredPlan, probation_s: float = 0.0) -> Plan:
    """The plan that was written; with the probation of its rollout where windows are to leave time for it.

    Raises:
        ContractError: `malformed`, naming what can't be understood.
    """
    failures, failures_share = parse_limit(kept.max_failures, "max_failures")
    offline = offline_share = None
    if kept.max_offline is not None:
        offline, offline_share = parse_limit(kept.max_offline, "max_offline")
    if kept.timezone and open_zone(kept.timezone) is None:
        raise ContractError(
            "malformed",
            f"There is no time zone {kept.timezone!r}.",
            hint="Write its name, as Europe/Vienna; a host without zones needs the package tzdata.",
        )
    as_they_are = {name: getattr(kept, name) for name in _AS_THEY_ARE}
    return Plan(
        waves=parse_waves(kept.waves), max_failures=failures, max_failures_share=failures_share, max_offline=offline,
        max_offline_share=offline_share, windows=tuple(parse_window(text) for text in kept.windows),
        gates=tuple(kept.gates), update_s=probation_s, **as_they_are,
    )  # fmt: skip


def to_keep(request: RolloutRequest) -> StoredPlan:
    """The plan of a request as its row keeps it: what is asked for and can be understood, and the seed of its draw.

    Raises:
        ContractError: `malformed`.
    """
    options = {name: getattr(request, name) for name in PlanOptions.__struct_fields__}
    options |= {"name": clean(request.name), "comment": clean(request.comment)}
    seed = secrets.randbits(32) if request.seed is None else request.seed
    kept = StoredPlan(waves=request.waves, seed=seed, **options)
    if kept.deadline_s <= request.policy.probation_s:
        raise ContractError(
            "malformed",
            f"The deadline of {kept.deadline_s:g} s is not longer than the probation of "
            f"{request.policy.probation_s:g} s.",
            hint="A device may answer only after its probation: raise --deadline.",
        )
    _refuse_odd(kept)
    plan = to_plan(kept, request.policy.probation_s)
    if plan.windows and longest_s(plan.windows) < plan.update_s:
        raise ContractError(
            "malformed",
            f"No window of the plan is as long as the probation of {plan.update_s:g} s: nobody could ever begin.",
            hint="Widen a window, or shorten --probation.",
        )
    return kept


def _refuse_odd(kept: StoredPlan) -> None:
    """Refuse limits under which nobody lives to see the end, and gates that count twice. Not judged of rows that stand."""
    if 0 < kept.rate_per_min < LEAST_RATE:
        raise ContractError(
            "malformed", f"At {kept.rate_per_min:g} devices a minute less than one begins in a week.",
            hint=f"Give a --rate of at least {LEAST_RATE:g}, or 0 for any number.",
        )  # fmt: skip
    if 0 < kept.bandwidth_bytes_s < LEAST_BANDWIDTH:
        raise ContractError(
            "malformed", f"{kept.bandwidth_bytes_s:g} bytes a second carry no artifact.",
            hint=f"Give a --bandwidth of at least {LEAST_BANDWIDTH:g} bytes a second, or 0 for any number.",
        )  # fmt: skip
    if len(set(kept.gates)) < len(kept.gates):
        raise ContractError(
            "malformed", f"The gates {', '.join(kept.gates)} name one twice.", hint="Name each gate once."
        )


def options_of(kept: StoredPlan) -> PlanOptions:
    """What was asked for, without the waves and the seed."""
    return PlanOptions(**{name: getattr(kept, name) for name in PlanOptions.__struct_fields__})


def read_plan(text: str, *, owner: str = "a rollout") -> StoredPlan:
    """What a row of the rollout `owner` keeps, of any age.

    Raises:
        UnreadableRow: `unreadable-row`.
    """
    return decode_row(
        text, StoredPlan, owner=owner, what="plan", hint=f"Cancel it: edgelift rollout cancel {owner}."
    )


def parse_limit(value: int | str, what: str) -> tuple[int, float]:
    """Read how many devices may be so: a count, or a share of the cohort as `5%`.

    Returns:
        The count, and the share of 1; one of them is 0.

    Raises:
        ContractError: `malformed`.
    """
    if isinstance(value, int):
        return value, 0.0
    match = re.match(r"^([0-9]{1,15}(?:\.[0-9]{1,6})?)(%?)\Z", value.strip())
    if match and match[2] and float(match[1]) <= 100:
        return 0, float(match[1]) / 100
    if match and not match[2] and match[1].isdigit():
        return int(match[1]), 0.0
    raise ContractError(
        "malformed",
        f"{what} is {value!r}, which is no number of devices.",
        hint="Write a count or a share: 3, 5%.",
    )


def parse_waves(texts: Sequence[str]) -> tuple[Wave, ...]:
    """Read waves as `["1", "25%", "100%"]`.

    Raises:
        ContractError: `malformed` when one isn't a count or a share, they don't grow, or the last isn't `100%`.
    """
    waves = [_wave(text) for text in texts]
    shares, counts = [w.share for w in waves if w.share], [w.count for w in waves if w.count]
    grows = shares == sorted(set(shares)) and counts == sorted(set(counts))
    if not waves or waves[-1].share != 1 or not grows:
        raise ContractError(
            "malformed",
            f"The waves {','.join(texts) or '(none)'} must grow and end with 100%.",
            hint="For example: 1,25%,100%.",
        )
    return tuple(waves)


def _wave(text: str) -> Wave:
    match = re.match(r"^([0-9]{1,15}(?:\.[0-9]{1,6})?)(%?)\Z", text.strip())
    wave = Wave(share=float(match[1]) / 100) if match and match[2] else None
    if match and not match[2] and match[1].isdigit():
        wave = Wave(count=int(match[1]))
    if wave is None or not 0 <= wave.share <= 1 or (wave.count, wave.share) == (0, 0.0):
        raise ContractError(
            "malformed", f"{text!r} is not a wave.", hint="Write a count or a share of the cohort: 1,25%,100%."
        )
    return wave


def _part(share: float, cohort: int) -> int:
    return math.floor(round(share * cohort, 9))
