"""Reads what a device's page shows: by the functions that the API answers with."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timezone, tzinfo

import sqlalchemy as sa
from msgspec.structs import replace
from sqlalchemy.orm import Session

from edgelift_contract.bundle import BUNDLE_ABILITY
from edgelift_contract.errors import CODES
from edgelift_contract.report import Degradation
from edgelift_fleet import bundles, overview
from edgelift_fleet.alerts.judge import judge_device
from edgelift_fleet.alerts.kinds import TROUBLES
from edgelift_fleet.alerts.reading import DeviceReader
from edgelift_fleet.alerts.silences import silenced
from edgelift_fleet.alerts.standing import troubles_of
from edgelift_fleet.console.device.going_back import way_back
from edgelift_fleet.console.device.next_words import Ahead, next_of
from edgelift_fleet.console.device.past_words import ended, goldens, history, staged
from edgelift_fleet.console.device.seen import Ailment, DevicePage, SlotCard
from edgelift_fleet.console.kinds import PageAsked
from edgelift_fleet.device_filter import failing
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages import DeviceDetail, LatencyGroup, PlanOptions, SlotSummary
from edgelift_fleet.rollout.clashes import open_rollouts_of
from edgelift_fleet.rollout.commands import get_rollout
from edgelift_fleet.rollout.view import Asked as AskedOf
from edgelift_fleet.rollout.view import view
from edgelift_fleet.rollout.windows import next_open, open_zone, parse_window
from edgelift_fleet.tables import DeviceRow, RolloutDeviceRow
from edgelift_fleet.telemetry import gauges
from edgelift_fleet.telemetry import query as asking

#: Span of the pictures → its length and that of a step, seconds.
SPANS = {
    "1h": (3600.0, 60.0), "6h": (6 * 3600.0, 300.0), "24h": (86400.0, 600.0), "7d": (7 * 86400.0, 3600.0),
    "30d": (30 * 86400.0, 4 * 3600.0),
}  # fmt: skip
_DEGRADED = "It serves on. On the board, edgelift-agent doctor says what to do; docs/degraded.md says what waits meanwhile."
#: Bundles that are shown.
_BUNDLES = 5


def read_device(fleet: Fleet, asked: PageAsked) -> DevicePage:
    """Read it. Raises ContractError `bad-id`, `not-found`."""
    device, now = asked.named["device"], time.time()
    with fleet.db.read() as session:
        detail = overview.device_detail(session, fleet.seen, device)
        detail = replace(detail, identity=fleet.identities.view(session, device))
        span = span_of(asked.query.get("range", ""), detail.enrolled_at, now)
        length_s, step_s = SPANS[span]
        start, end = now - length_s - (now - length_s) % step_s, now
        slot = asked.query.get("slot", "")
        groups, slot = _latency(fleet, session, detail, slot, (start, end, step_s))
        ahead, zone = _ahead(session, detail, now), zone_of(detail)
        return DevicePage(
            detail=detail, ailments=_ailments(fleet, session, detail, now),
            slots=[_card(session, detail, one, ahead, zone, now) for one in detail.device.slots],
            token=fleet.identities.came_by(session, device), history=history(detail),
            bundles=bundles.list_bundles(session, device)[:_BUNDLES], can_bundle=BUNDLE_ABILITY in detail.facts.abilities,
            span=span, start=start, end=end, step_s=step_s, slot=slot, latency=groups,
            gauges=gauges.steps(session, device, start, end, step_s),
            hot_c=fleet.site.config.alerts.hot_c, disk_low_bytes=fleet.site.config.alerts.disk_low_bytes,
        )  # fmt: skip


def span_of(wanted: str, enrolled_at: float, now: float) -> str:
    """The span that is shown: as it is asked for, else a day, or the shortest that holds all of a newer device. Pure."""
    if wanted in SPANS:
        return wanted
    return next((name for name in ("1h", "6h") if now - enrolled_at <= SPANS[name][0]), "24h")


def zone_of(detail: DeviceDetail) -> tzinfo:
    """Where it stands; UTC for one that doesn't say. Pure."""
    return open_zone(detail.facts.timezone) or timezone.utc


def _latency(
    fleet: Fleet, session: Session, detail: DeviceDetail, slot: str, over: tuple[float, float, float]
) -> tuple[list[LatencyGroup], str]:
    """The steps of one slot: of the one that is asked for, else of the first that served."""
    start, end, step_s = over
    wanted = asking.Question(device=detail.device.device, phases=("total",), step_s=step_s)
    kept = asking.minutes_kept_from(fleet.site.config.telemetry_minute_days)
    found = asking.latency(session, wanted, start, end, minutes_from=kept).groups
    names = sorted({group.slot for group in found} | {one.slot for one in detail.device.slots})
    served = [group.slot for group in found]
    shown = slot if slot in names else next(iter(sorted(served)), names[0] if names else "")
    return [group for group in found if group.slot == shown], shown


def _ailments(fleet: Fleet, session: Session, detail: DeviceDetail, now: float) -> list[Ailment]:
    """What the front page would count it for, worst first."""
    one = detail.device
    mine = DeviceRow.id == one.device
    (look,) = DeviceReader().read(session, fleet.seen, now, [one.device])
    judged = judge_device(look, fleet.site.config.alerts, now)
    found = {trouble.code: trouble.text for trouble in judged}
    if look.removed:
        return []
    if one.faults:
        found["faulty"] = " ".join(f"{fault.message} {fault.hint}" for fault in one.faults)
    if one.duplicates:
        found["duplicate-device"] = ", ".join(f"{other.address} by {other.via}" for other in one.duplicates)
    if session.scalar(sa.select(DeviceRow.id).where(mine, failing(session, fleet.seen, mine))):
        found["failing"] = " ".join(ended(slot.update)[0] for slot in one.slots if _gave_up(slot))
    known = {code: since for code, since, _ in troubles_of(session, [one.device]).get(one.device, [])}
    since = {**known, **{trouble.code: trouble.since for trouble in judged if trouble.since < now}}
    until = silenced(session, [(code, one.device) for code in found], now)
    return [
        Ailment(
            code,
            kind.tone,
            kind.one,
            (kind.here or kind.todo).replace("NAME", one.device),
            found[code],
            since.get(code, 0.0),
            until.get((code, one.device), 0.0),
        )
        for code, kind in TROUBLES.items()
        if code in found and code != "degraded"  # of which each part has a card of its own
    ] + [broken(part, until.get(("degraded", one.device), 0.0)) for part in detail.degraded]


def broken(part: Degradation, until: float = 0.0) -> Ailment:
    """A part of the agent that lives with a fault around it, in words; `until` when nobody is told of it. Pure."""
    message = part.message or CODES.get(part.code, "")
    what = f"is degraded: {part.part}, {part.code}"
    return Ailment("degraded", "warn", what, _DEGRADED, message, part.since, until)


def _gave_up(slot: SlotSummary) -> bool:
    return slot.update is not None and slot.update.outcome in ("refused", "rolled-back", "inconsistent")


def _card(
    session: Session, detail: DeviceDetail, slot: SlotSummary, ahead: Sequence[Ahead], zone: tzinfo, now: float
) -> SlotCard:
    wanted = slot.desired
    last, tone = ended(slot.update)
    return SlotCard(
        slot=slot.slot, state=slot.state, generation=slot.generation,
        running=f"{slot.model}@{slot.version}" if slot.version else "", since=slot.since, artifact=slot.artifact,
        wanted=f"{wanted.model}@{wanted.version}" if wanted else "", asked_by=wanted.rollout if wanted else "",
        staged=staged(slot.update), last=last, last_tone=tone,
        goldens=goldens(slot.slot, slot.artifact, slot.update, detail.swaps),
        next=next_of(slot, online=detail.device.online, ahead=ahead, zone=zone, now=now),
        back=way_back(session, detail.device.device, slot, detail.history),
    )  # fmt: skip


def _ahead(session: Session, detail: DeviceDetail, now: float) -> list[Ahead]:
    """Open rollouts that have it, and when each may reach it."""
    device = detail.device.device
    names = [name for some in open_rollouts_of(session, device).values() for name in some]
    found = []
    for name in names:
        row = get_rollout(session, name)
        one, mine = view(session, row, AskedOf(limit=0)), session.get(RolloutDeviceRow, (row.number, device))
        plan = one.plan or PlanOptions()
        found.append(Ahead(
            one.id, one.release, one.slot, one.state, one.reason, one.wave, len(one.waves),
            mine.status if mine is not None else "", opens_at(plan, detail, now), plan.start_at,
        ))  # fmt: skip
    return found


def opens_at(plan: PlanOptions, detail: DeviceDetail, now: float) -> float:
    """When a plan's window opens for a device, seconds since 1970; 0 where it is open or the plan has none. Pure."""
    windows = [parse_window(text) for text in plan.windows]
    zone = open_zone(detail.facts.timezone) or open_zone(plan.timezone) or timezone.utc
    at = next_open(windows, zone, now)
    return at if at > now else 0.0
