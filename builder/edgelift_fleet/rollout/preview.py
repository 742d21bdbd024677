"""What a rollout would do, told before it starts: read in sets, by a fixed number of statements whatever the fleet.

The same look is the start's own: what can be known to go wrong is refused then, not found out wave by wave.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.errors import ContractError
from edgelift_contract.ids import check_name
from edgelift_contract.release import Release, ReleaseArtifact
from edgelift_contract.replies import ErrorReply
from edgelift_contract.report import DeviceFacts
from edgelift_contract.rules import choose
from edgelift_fleet.cohorts import Member, select_members, unknown_ids
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.messages import (
    PreviewArtifact,
    PreviewDevice,
    PreviewRefusal,
    PreviewWave,
    RolloutPreview,
    RolloutRequest,
)
from edgelift_fleet.registry import get_offered
from edgelift_fleet.rollout.cautions import NOTHING_YET, Lately, begins_late, cautions, go_back_alone, speak_as_one
from edgelift_fleet.rollout.forecast import draw_waves, ends
from edgelift_fleet.rollout.members import ids_of
from edgelift_fleet.rollout.observe import rollout_id
from edgelift_fleet.rollout.pace import Trait
from edgelift_fleet.rollout.plan import Plan
from edgelift_fleet.rollout.situation import TERMINAL
from edgelift_fleet.rows import decode_row
from edgelift_fleet.selector import short
from edgelift_fleet.tables import ArtifactRow, DeviceRow, ReleaseRow, RolloutRow, SlotStateRow, UpdateHistoryRow
from edgelift_fleet.telemetry.requests import requests_by_device


@dataclass(frozen=True)
class Outlook:
    """What is known of a rollout before it starts.

    Attributes:
        release, slot: what and where.
        members: every device that is selected.
        artifacts: device → what it would get.
        unsuited: device → why there is nothing for it.
        running: devices that serve it already.
        older: devices that ran a newer release of the model and would be told an older one.
        elsewhere: device → the open rollout that has its slot.
        unknown: ids that the selector names and nobody has.
        lately: what they served before.
        doubled: ids under which several devices speak.
        going_back: devices that ran a newer release and would be told an older one on purpose.
    """

    release: Release
    slot: str
    members: Sequence[Member]
    artifacts: Mapping[str, ReleaseArtifact]
    unsuited: Mapping[str, ContractError]
    running: frozenset[str]
    older: Sequence[str]
    elsewhere: Mapping[str, str]
    unknown: Sequence[str] = field(default=())
    lately: Lately = NOTHING_YET
    doubled: Sequence[str] = field(default=())
    going_back: Sequence[str] = field(default=())

    def suited(self) -> list[Member]:
        """The members that would get something."""
        return [member for member in self.members if member.device in self.artifacts]


def look_ahead(session: Session, request: RolloutRequest, seen: LastSeen, now: float) -> Outlook:
    """What can be known of a request.

    Raises:
        ContractError: `bad-id`, `not-found` (the release).
    """
    release = get_offered(session, request.release)
    slot = check_name("slot", request.slot or release.model)
    members = select_members(session, request.to, seen, now)
    ids = {member.device for member in members}
    artifacts, unsuited = _choices(session, release, request.release, ids)
    running = _running(session, slot, artifacts)
    older, allowed = _older(session, release, artifacts.keys() - running), request.policy.allow_older
    return Outlook(
        release, slot, members, artifacts, unsuited, running, () if allowed else older, _elsewhere(session, slot, ids),
        unknown_ids(session, request.to), _lately(session, slot, artifacts.keys(), request.gate_before_s or 3600.0, now),
        sorted(ids & seen.sightings.doubled()), older if allowed else (),
    )  # fmt: skip


def _lately(session: Session, slot: str, ids: Collection[str], span_s: float, now: float) -> Lately:
    found = requests_by_device(session, slot, ids, start=now - span_s, end=now)
    served = {device: sum(one.ok + one.errors for one in states.values()) for device, states in found.items()}
    filled = sa.select(SlotStateRow.device).where(SlotStateRow.slot == slot, SlotStateRow.artifact != "")
    return Lately(span_s, served, frozenset(session.scalars(filled)))


def refusals(found: Outlook, to: str) -> list[ContractError]:
    """Why a rollout can't start; empty when it can."""
    made = []
    name = f"{found.release.model}@{found.release.version}"
    if not found.members:
        hint = f"Nobody is called {_named(found.unknown)}." if found.unknown else "See: edgelift devices."
        made.append(ContractError("not-found", f"{short(to)} selects no device.", hint=hint))
    elif not found.artifacts:
        first = found.unsuited[min(found.unsuited)]
        text = f"{name} has nothing for any of the {len(found.members)} devices: {first.message}"
        made.append(ContractError(first.code, text, hint=first.hint))
    if found.elsewhere:
        device, rollout = min(found.elsewhere.items())
        more = f" and {len(found.elsewhere) - 1} more" if len(found.elsewhere) > 1 else ""
        made.append(ContractError(
            "conflict", f"The rollout {rollout} is under way on the same slot of {device}{more}.",
            hint=f"Wait for it, or: edgelift rollout cancel {rollout}.",
        ))  # fmt: skip
    if found.older:
        made.append(ContractError(
            "older-release",
            f"{name} has release counter {found.release.release_counter}; {_named(found.older)} ran a newer release.",
            hint="To go back on purpose: --allow-older.",
        ))  # fmt: skip
    return made


def preview(
    found: Outlook, request: RolloutRequest, plan: Plan, now: float, *, barred: bool = False
) -> RolloutPreview:
    """What would happen, for people and `--json`. Pure.

    Args:
        found: what is known of it.
        request: what was asked for.
        plan: that of the request.
        now: seconds since 1970.
        barred: the builders have not let devices go back to this release.
    """
    suited = found.suited()
    waves = draw_waves(plan, suited, found.members)
    changed = [member for member in suited if member.device not in found.running]
    sizes = {member.device: found.artifacts[member.device].size_bytes for member in changed}
    traits = {member.device: Trait(member.timezone, sizes[member.device]) for member in changed}
    over = ends(plan, request.policy.probation_s, waves, traits, now)
    classes = {member.device: member.hardware_class for member in suited}
    in_wave = {device: number for number, wave in enumerate(waves, 1) for device in wave}
    return RolloutPreview(
        release=request.release, slot=found.slot, to=request.to, seed=plan.seed or 0,
        cohort=len(found.members), classes=dict(Counter(member.hardware_class for member in found.members)),
        waves=[
            PreviewWave(
                number, text, len(wave), dict(Counter(classes[device] for device in wave)),
                sum(sizes.get(device, 0) for device in wave), round(end - now, 1), wave[:10],
            )
            for number, (text, wave, end) in enumerate(zip(request.waves, waves, over, strict=True), 1)
        ],
        artifacts=_artifacts(found),
        fetch_bytes=sum(sizes.values()), least_s=round(over[-1] - now, 1) if waves else 0.0,
        offline=[member.device for member in found.members if not member.online],
        running=sorted(found.running),
        unsuited=[PreviewRefusal(d, e.code, e.message) for d, e in sorted(found.unsuited.items())],
        older=list(found.older), elsewhere=dict(found.elsewhere), unknown=list(found.unknown),
        devices=[
            PreviewDevice(
                member.device, in_wave.get(member.device, 0), member.hardware_class,
                found.artifacts[member.device].id if member.device in found.artifacts else "", member.online,
            )
            for member in found.members
        ],
        refusals=[ErrorReply(e.message, e.code, e.hint) for e in refusals(found, request.to)],
        cautions=[
            *begins_late(plan, now),
            *speak_as_one(found.doubled),
            *go_back_alone(found.going_back if barred else (), request.release),
            *cautions(plan, request.policy, waves, suited, {m.device for m in changed}, found.lately),
        ],
    )  # fmt: skip


def _artifacts(found: Outlook) -> list[PreviewArtifact]:
    used = Counter(artifact.id for artifact in found.artifacts.values())
    return [
        PreviewArtifact(a.id, a.hardware_class, a.runtime, a.variant, a.size_bytes, used[a.id])
        for a in found.release.artifacts
        if used[a.id]
    ]


def _choices(
    session: Session, release: Release, name: str, ids: set[str]
) -> tuple[dict[str, ReleaseArtifact], dict[str, ContractError]]:
    """Device → its artifact, and device → why there is none."""
    artifacts: dict[str, ReleaseArtifact] = {}
    unsuited: dict[str, ContractError] = {}
    for device, text in session.execute(sa.select(DeviceRow.id, DeviceRow.facts)):
        if device not in ids:
            continue
        try:
            facts = decode_row(text, DeviceFacts, owner=device, what="facts")
            artifacts[device] = choose(release.artifacts, facts, what=name)
        except ContractError as error:
            unsuited[device] = error
    return artifacts, unsuited


def _running(session: Session, slot: str, artifacts: Mapping[str, ReleaseArtifact]) -> frozenset[str]:
    query = sa.select(SlotStateRow.device, SlotStateRow.artifact).where(SlotStateRow.slot == slot)
    return frozenset(
        device
        for device, artifact in session.execute(query)
        if device in artifacts and artifacts[device].id == artifact
    )


def _older(session: Session, release: Release, ids: set[str]) -> list[str]:
    """Those that ever ran a release of the model with a higher counter, as far as they told: they refuse to go back."""
    newer = sa.and_(ReleaseRow.model == release.model, ReleaseRow.release_counter > release.release_counter)
    serves = sa.and_(SlotStateRow.model == ReleaseRow.model, SlotStateRow.version == ReleaseRow.version)
    serving = sa.select(SlotStateRow.device).join(ReleaseRow, serves).where(newer)
    past = sa.select(UpdateHistoryRow.device).join(ArtifactRow, ArtifactRow.id == UpdateHistoryRow.artifact)
    past = past.join(ReleaseRow, ReleaseRow.id == ArtifactRow.release_id)
    past = past.where(newer, UpdateHistoryRow.outcome == "committed")
    return sorted(ids & set(session.scalars(sa.union(serving, past))))


def _elsewhere(session: Session, slot: str, ids: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    active = sa.select(RolloutRow).where(RolloutRow.slot == slot, RolloutRow.state.not_in(TERMINAL))
    for row in session.scalars(active.order_by(RolloutRow.number)):
        for device in ids & ids_of(session, row):
            found.setdefault(device, rollout_id(row.number))
    return found


def _named(devices: Sequence[str]) -> str:
    shown = ", ".join(sorted(devices)[:3])
    return f"{shown} and {len(devices) - 3} more" if len(devices) > 3 else shown
