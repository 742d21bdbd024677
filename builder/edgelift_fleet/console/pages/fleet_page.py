"""The front page: what needs a person, what is under way, how many of what, and the devices line by line."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.alerts.judge import temperature
from edgelift_fleet.alerts.standing import count_standing
from edgelift_fleet.console.kinds import ConsolePage, Form, PageAsked
from edgelift_fleet.device_filter import DeviceFilter
from edgelift_fleet.device_list import count_by, list_devices
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages import DeviceCounts, DeviceSummary, RolloutSummary
from edgelift_fleet.needs import Need, Troubles
from edgelift_fleet.paging import Wish
from edgelift_fleet.rollout.listing import RolloutFilter
from edgelift_fleet.telemetry.usual import Pace, paces

#: Devices on a page.
PAGE = 50
#: Rollouts under way that are shown.
UNDER_WAY = 10
ALL_OF_THEM = sa.true()
_WORD = re.compile(r"[A-Za-z0-9*?_.-]{1,60}")


class SlotLine(msgspec.Struct, frozen=True):
    """A slot in a line: what serves, and what it should be where that is something else."""

    slot: str
    release: str
    wanted: str = ""


class DeviceLine(msgspec.Struct, frozen=True):
    """A device in one line.

    Attributes:
        state: `online`, `offline`, or the worst trouble that it has.
        troubles: codes of all of them, worst first.
        last_seen: seconds since 1970.
        p95_us: of the slot that got slowest against its own day before; 0 where too few requests came.
        change: by which share it is slower than usual; None where that can't be said.
        temperature_c: of the hottest part; None for a board that doesn't say.
    """

    device: str
    state: str
    troubles: list[str]
    hardware_class: str
    slots: list[SlotLine]
    last_seen: float
    transport: str
    p95_us: float = 0.0
    change: float | None = None
    temperature_c: float | None = None


class FleetPage(msgspec.Struct, frozen=True):
    """The fleet on one page.

    Attributes:
        all: counts of all devices; `online` of those that the filters leave is not told apart.
        needs: what needs a person, worst first.
        alerts: how many stand of which people are told.
        rollouts: under way, newest first.
        devices: this page of those that the filters leave; `total` of them, `next` the last id if more follow.
        warnings: what concerns all of them.
    """

    all: DeviceCounts
    needs: list[Need]
    alerts: int
    rollouts: list[RolloutSummary]
    devices: list[DeviceLine]
    total: int
    next: str
    warnings: list[str]


def read_fleet(fleet: Fleet, asked: PageAsked) -> FleetPage:
    """Read it. Raises ContractError `bad-id`, `malformed`."""
    rollouts = fleet.rollouts.list(RolloutFilter("open"), Wish(UNDER_WAY)).items
    now = time.time()
    with fleet.db.read() as session:
        troubles = fleet.troubles.look(session, fleet.seen, now)
        wish = Wish(PAGE, asked.query.get("after", ""), asked.query.get("sort", ""))
        found = list_devices(session, fleet.seen, wanted(asked, troubles), wish)
        counts = count_kinds(session, troubles)
        lines = _lines(session, found.items, troubles, now)
        alerts = count_standing(session)
    return FleetPage(
        counts, troubles.needs(), alerts, rollouts, lines, found.total, found.next, list(fleet.signed.warnings)
    )


def selector_of(typed: str) -> str:
    """What somebody typed as a selector: a word alone is part of an id. Pure."""
    word = typed.strip()
    return f"id:*{word.lower()}*" if _WORD.fullmatch(word) and word != "all" else word


def count_kinds(session: Session, troubles: Troubles) -> DeviceCounts:
    """How many devices of all are what, as `device_list.count_devices` counts them."""
    by_class, by_release = count_by(session, ALL_OF_THEM)
    total, of = len(troubles.looks), troubles.of
    return DeviceCounts(
        total, total - len(troubles.offline), len(of["failing"]), len(of["duplicate-device"]), by_class, by_release
    )


def wanted(asked: PageAsked, troubles: Troubles) -> DeviceFilter:
    """What an address asks for. Pure."""
    trouble, tags = asked.query.get("trouble", ""), asked.query.getlist("tag")
    ids = frozenset(troubles.of[trouble]) if trouble in troubles.of else None
    return DeviceFilter(
        to=selector_of(asked.query.get("to", "")), hardware_class=asked.query.get("class", ""),
        tags=tuple(tag for tag in tags if tag),
        release=asked.query.get("release", ""), online=asked.flag("online"), ids=ids,
    )  # fmt: skip


def _lines(session: Session, devices: Sequence[DeviceSummary], troubles: Troubles, now: float) -> list[DeviceLine]:
    served = paces(session, [one.device for one in devices], now)
    return [_line(one, troubles, served.get(one.device, [])) for one in devices]


def _line(device: DeviceSummary, troubles: Troubles, served: Sequence[Pace]) -> DeviceLine:
    kinds = troubles.kinds(device.device)
    running = {slot.artifact for slot in device.slots}
    mine = [one for one in served if one.artifact in running]
    worst = max(mine, key=lambda one: (one.change if one.change is not None else -2.0, one.now_us), default=None)
    return DeviceLine(
        device=device.device, state=kinds[0] if kinds else "offline" if device.device in troubles.offline else "online",
        troubles=kinds,
        hardware_class=device.hardware_class,
        slots=[
            SlotLine(
                one.slot, f"{one.model}@{one.version}" if one.version else "",
                f"{one.desired.model}@{one.desired.version}" if one.desired and one.desired.artifact != one.artifact else "",
            )
            for one in device.slots
        ],
        last_seen=device.last_seen, transport=device.transport,
        p95_us=worst.now_us if worst else 0.0, change=worst.change if worst else None,
        temperature_c=temperature(troubles.readings(device.device)),
    )  # fmt: skip


def _is_lively(data: FleetPage) -> bool:
    return bool(data.rollouts) and len(data.devices) < PAGE


PAGES = (ConsolePage("/", "fleet.html", read_fleet, nav="Fleet", lively=_is_lively),)
FORMS: tuple[Form, ...] = ()
