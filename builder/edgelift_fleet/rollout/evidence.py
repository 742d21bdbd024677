"""What the host itself has seen of devices' generations: counts of requests, from the windows it received.

Only the host's clock is used: a window counts for what it holds, from when it came. A fixed number of statements,
whatever the number of devices. What the figures mean for a claim is `claims`' rule; `judge_claims` asks it for many.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.assignment import Policy
from edgelift_contract.report import UpdateReport
from edgelift_fleet.rollout.claims import CommittedBy, Proof, committed_by, doubt, fails_too_often
from edgelift_fleet.tables import TelemetryBucketRow, TelemetryMinuteRow, TelemetrySeriesRow

#: What a slot served within this time before an assignment is "before", seconds; as probation on the device has it.
BEFORE_S = 3600.0
#: More devices than this are not named in a statement: databases bound its parameters.
_NAMED = 500
_HOUR_MS = 3_600_000

#: device → (artifact, host's clock from which its windows count).
Claims = Mapping[str, tuple[str, float]]


@dataclass(frozen=True)
class Claim:
    """A device's word that it committed: what it says, of which artifact, and when that was assigned (host's clock)."""

    update: UpdateReport
    artifact: str
    assigned_at: float


@dataclass(frozen=True)
class Belief:
    """What a claim is worth: why it is not believed (empty when it is), and what a believed one rests on."""

    doubt: str
    by: CommittedBy


@dataclass(frozen=True)
class _Counts:
    """Of a window, what is looked at here."""

    ok: int
    errors: int


def judge_claims(
    session: Session, slot: str, policy: Policy, claims: Mapping[str, Claim], now: float
) -> dict[str, Belief]:
    """Which claims are to be believed: device → belief, for each of `claims`. Two statements at most."""
    where = {device: (claim.artifact, claim.assigned_at) for device, claim in claims.items()}
    found = evidence_of(session, slot, where)
    # Only where more failed than may is it asked whether the generation before was as bad.
    compared = {
        device: at
        for device, at in where.items()
        if fails_too_often(claims[device].update.errors, claims[device].update.requests, policy)
        or fails_too_often(found[device].errors, found[device].requests, policy)
    }
    found |= with_before(session, slot, compared, found)
    return {
        device: Belief(
            doubt(claim.update, policy, assigned_at=claim.assigned_at, evidence=found[device], now=now),
            committed_by(policy, found[device]),
        )
        for device, claim in claims.items()
    }


def evidence_of(session: Session, slot: str, claims: Claims) -> dict[str, Proof]:
    """What the windows of each claimed artifact show, of those received since the time beside it.

    Args:
        session: of the database.
        slot: in which it is to have served.
        claims: device → (artifact, seconds since 1970).

    Returns:
        device → its evidence; every device of `claims` has one.
    """
    found = dict.fromkeys(claims, Proof())
    if not claims:
        return found
    since = min(at for _, at in claims.values())
    for device, artifact, at, counts in _windows(session, slot, claims, since):
        wanted, from_at = claims[device]
        if artifact == wanted and at >= from_at:
            found[device] = _add(found[device], counts, at)
    return found


def with_before(session: Session, slot: str, claims: Claims, found: Mapping[str, Proof]) -> dict[str, Proof]:
    """`found`, for the devices of `claims`, with what their slots served in the hour before."""
    made = {device: found[device] for device in claims}
    if not claims:
        return made
    since = min(at for _, at in claims.values()) - BEFORE_S
    for device, artifact, at, counts in _windows(session, slot, claims, since):
        wanted, from_at = claims[device]
        if artifact != wanted and at >= from_at - BEFORE_S:
            one = made[device]
            requests = one.before_requests + counts.ok + counts.errors
            made[device] = replace(one, before_requests=requests, before_errors=one.before_errors + counts.errors)
    return made


def _windows(
    session: Session, slot: str, claims: Claims, since: float
) -> Iterator[tuple[str, str, float, _Counts]]:
    """(device, artifact, received at, counts) of every window that may matter, or of an hour of windows that are no longer
    kept one by one and began to come after `since`.
    """
    series, minute, hour = TelemetrySeriesRow, TelemetryMinuteRow, TelemetryBucketRow
    device = series.device.in_(claims) if len(claims) <= _NAMED else sa.true()
    windows = (
        sa.select(series.device, series.artifact, minute.received_at, minute.ok, minute.errors)
        .join_from(series, minute, minute.series == series.id)
        .where(series.slot == slot, device, minute.received_at >= since)
    )
    kept = sa.exists().where(
        minute.series == hour.series, minute.start >= hour.start, minute.start < hour.start + _HOUR_MS
    )
    hours = (
        sa.select(series.device, series.artifact, hour.received_at, hour.ok, hour.errors)
        .join_from(series, hour, hour.series == series.id)
        .where(series.slot == slot, device, hour.level == 1, hour.received_at >= since, ~kept)
    )
    for name, artifact, at, ok, errors in session.execute(windows.union_all(hours)):
        if name in claims:
            yield name, artifact, at, _Counts(ok, errors)


def _add(one: Proof, counts: _Counts, at: float) -> Proof:
    first_at = min(one.first_at or at, at)
    requests = one.requests + counts.ok + counts.errors
    return Proof(requests, one.errors + counts.errors, first_at, max(one.last_at, at))
