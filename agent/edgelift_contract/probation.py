"""The verdict on a generation in probation: a pure rule over what both generations served.

Errors: more than the policy's share of requests failed, *and* the generation before did not fail as often. "As
often" is told from chance by comparing two shares: the difference must be more than two standard errors, which chance
alone exceeds once in forty times. A generation before with fewer than twenty requests, or without a single failure,
excuses nothing. What clients did wrong is in neither count.

Latency compares only within one throttle state: a hot board makes any model look slow. Medians, not means,
and only when both sides have enough requests to tell.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edgelift_contract.assignment import Policy
from edgelift_contract.histogram import Histogram
from edgelift_contract.rules import MIN_COMPARED, fails_as_often


@dataclass
class Served:
    """What a generation served.

    Attributes:
        ok, errors: requests answered and failed.
        total_us: throttled? → histogram of total latency, microseconds.
    """

    ok: int = 0
    errors: int = 0
    total_us: dict[bool, Histogram] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        """Answered and failed together."""
        return self.ok + self.errors


@dataclass(frozen=True)
class Verdict:
    """`wait`, `pass`, or `fail` with an error code and a sentence; a `wait` may say so what is waited for."""

    kind: Literal["wait", "pass", "fail"]
    code: str = ""
    message: str = ""


def judge(new: Served, old: Served | None, policy: Policy, elapsed_s: float) -> Verdict:
    """Decide on a probation.

    Args:
        new: what the generation in probation served since its swap.
        old: what the one before served in its last hour; None where there was none, or nothing is known of it.
        policy: the limits.
        elapsed_s: since the swap.

    Returns:
        `fail` as soon as a limit is clearly broken; `pass` when the time is over; else `wait`.
    """
    failed = _errors(new, old, policy, final=elapsed_s >= policy.probation_s) or _latency(new, old, policy)
    if failed is not None:
        return failed
    return Verdict("pass") if elapsed_s >= policy.probation_s else Verdict("wait")


def _errors(new: Served, old: Served | None, policy: Policy, *, final: bool) -> Verdict | None:
    # Before the end a few failures among few requests may still even out, unless the limit is already lost
    # for twice the requests seen.
    judged = new.requests if final else max(2 * new.requests, policy.probation_min_requests)
    if not new.errors or new.errors <= policy.max_error_rate * judged or as_bad_before(new, old):
        return None
    before = f", {old.errors} of {old.requests} did before" if old is not None and old.requests else ""
    return Verdict(
        "fail",
        "probation-errors",
        f"{new.errors} of {new.requests} requests failed in probation{before}; {policy.max_error_rate:.1%} may.",
    )


def as_bad_before(new: Served, old: Served | None) -> bool:
    """Did the generation before fail as often, as far as its requests can tell? See `rules.fails_as_often`."""
    return old is not None and fails_as_often(new.errors, new.requests, old.errors, old.requests)


def _latency(new: Served, old: Served | None, policy: Policy) -> Verdict | None:
    if old is None or not policy.max_latency_ratio:
        return None
    for throttled, after in new.total_us.items():
        before = old.total_us.get(throttled)
        enough = max(MIN_COMPARED, policy.probation_min_requests)
        if before is None or before.count < enough or after.count < enough:
            continue
        ratio = after.quantile(0.5) / max(before.quantile(0.5), 1e-9)
        if ratio > policy.max_latency_ratio:
            return Verdict(
                "fail",
                "probation-latency",
                f"The median latency rose {ratio:.2f}-fold, from {before.quantile(0.5) / 1000:.2f} ms to"
                f" {after.quantile(0.5) / 1000:.2f} ms{' while throttled' if throttled else ''};"
                f" at most {policy.max_latency_ratio:g}-fold is allowed.",
            )
    return None
