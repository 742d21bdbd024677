"""Is a device's word that it committed to be believed? A pure rule over the word and what the host has seen itself.

A report is what a device, or whoever has its token, says of itself. A rollout goes on by it only when the host's own
figures agree:

1. The time that the probation takes has passed since the assignment, by the host's clock.
2. Windows of the new artifact that came since then show the least requests that the policy asks for. Where that is
   none, the device commits on its goldens alone, and is counted so.
3. Neither the report nor the windows show more errors than the policy allows, or than the generation before had.

A doubt is no failure: the device is waited for, and at its deadline it has not committed. What is not judged here:
whether the report is about this rollout's artifact at all (`observe`), and who sent it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgelift_contract.assignment import Policy
from edgelift_contract.report import UpdateReport
from edgelift_contract.rules import fails_as_often

#: By what a device is counted as committed: requests that its windows show, or its goldens alone.
CommittedBy = Literal["requests", "goldens"]


@dataclass(frozen=True)
class Proof:
    """What windows that the host received show of a generation.

    Attributes:
        requests, errors: in all windows of it since the assignment; requests are those answered and those failed.
        first_at, last_at: when the host received the first and the last of them, seconds since 1970; 0 without one.
        before_requests, before_errors: of what the slot served in the hour before, where that was looked up.
    """

    requests: int = 0
    errors: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    before_requests: int = 0
    before_errors: int = 0


NO_EVIDENCE = Proof()


def doubt(update: UpdateReport, policy: Policy, *, assigned_at: float, evidence: Proof, now: float) -> str:
    """Why a claim of *committed* is not believed, as the end of "it says committed; …"; empty when it is believed.

    Args:
        update: the claim.
        policy: under which the device was to be judged.
        assigned_at: when the host assigned it, host's clock, seconds since 1970.
        evidence: of the claimed artifact in this slot since then.
        now: host's clock.
    """
    passed_s = now - assigned_at
    if passed_s < policy.probation_s:
        return f"its probation of {policy.probation_s:g} s began {max(0.0, passed_s):.0f} s ago at the earliest"
    if evidence.requests < policy.probation_min_requests:
        return f"its windows show {evidence.requests} of {policy.probation_min_requests} requests"
    if update.errors > update.requests:
        return f"its report counts {update.errors} errors in {update.requests} requests"
    for what, errors, requests in (
        ("its report counts", update.errors, update.requests),
        ("its windows show", evidence.errors, evidence.requests),
    ):
        if fails_too_often(errors, requests, policy) and not fails_as_often(
            errors, requests, evidence.before_errors, evidence.before_requests
        ):
            return f"{what} {errors} failures in {requests} requests; {policy.max_error_rate:.1%} may fail"
    return ""


def fails_too_often(errors: int, requests: int, policy: Policy) -> bool:
    """Is that a larger share of failures than the policy allows?"""
    return errors > policy.max_error_rate * requests


def committed_by(policy: Policy, evidence: Proof) -> CommittedBy:
    """What a believed commit rests on."""
    return "requests" if evidence.requests >= max(1, policy.probation_min_requests) else "goldens"
