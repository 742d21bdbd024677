"""The verdict on a generation in probation: a pure rule over what both generations served.

Latency compares only within one throttle state: a hot board makes any model look slow. Medians, not means,
and only when both sides have enough requests to tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgelift_agent.telemetry.latency import Served
from edgelift_contract.assignment import Policy

#: Requests on each side below which a comparison of medians says nothing.
MIN_COMPARED = 20


@dataclass(frozen=True)
class Verdict:
    """`wait`, `pass`, or `fail` with an error code and a sentence."""

    kind: Literal["wait", "pass", "fail"]
    code: str = ""
    message: str = ""


def judge(new: Served, old: Served | None, policy: Policy, elapsed_s: float) -> Verdict:
    """Decide on a probation.

    Args:
        new: what the generation in probation served since its swap.
        old: what the one before served in its last hour; None where there was none.
        policy: the limits.
        elapsed_s: since the swap.

    Returns:
        `fail` as soon as a limit is clearly broken; `pass` when the time is over; else `wait`.
    """
    failed = _errors(new, policy, final=elapsed_s >= policy.probation_s) or _latency(new, old, policy)
    if failed is not None:
        return failed
    return Verdict("pass") if elapsed_s >= policy.probation_s else Verdict("wait")


def _errors(new: Served, policy: Policy, *, final: bool) -> Verdict | None:
    # Before the end a few failures among few requests may still even out, unless the limit is already lost
    # for twice the requests seen.
    judged = new.requests if final else max(2 * new.requests, policy.probation_min_requests)
    if new.errors and new.errors > policy.max_error_rate * judged:
        return Verdict(
            "fail",
            "probation-errors",
            f"{new.errors} of {new.requests} requests failed in probation; {policy.max_error_rate:.1%} may.",
        )
    return None


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
