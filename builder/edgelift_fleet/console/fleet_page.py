"""The front page's data: how many of what, what needs a person, and a page of devices. No HTML."""

from __future__ import annotations

import msgspec
from sqlalchemy.orm import Session

from edgelift_fleet.device_filter import DeviceFilter
from edgelift_fleet.device_list import count_devices, list_devices
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.messages import DeviceCounts, DeviceSummary
from edgelift_fleet.paging import Wish

#: Devices of which it is said what they need; the rest is a link.
MAX_ATTENTION = 20


class Need(msgspec.Struct, frozen=True):
    """What a device needs a person for: a stable `code`, since when, what it is, and what to do."""

    device: str
    code: str
    since: float
    what: str
    do: str


class FleetPage(msgspec.Struct, frozen=True):
    """The fleet on one page.

    Attributes:
        all, shown: counts of all devices, and of those that the filters leave.
        needs: worst first, up to 20.
        devices: this page of those that the filters leave; `total` of them, `next` the last id if more follow.
    """

    all: DeviceCounts
    shown: DeviceCounts
    needs: list[Need]
    devices: list[DeviceSummary]
    total: int
    next: str


def fleet_page(session: Session, seen: LastSeen, asked: DeviceFilter, wish: Wish) -> FleetPage:
    """Read it. Raises ContractError `bad-id`, `malformed`."""
    everything = count_devices(session, seen)
    shown = everything if asked == DeviceFilter() else count_devices(session, seen, asked)
    found = list_devices(session, seen, asked, wish)
    return FleetPage(everything, shown, _needs(session, seen), found.items, found.total, found.next)


def _needs(session: Session, seen: LastSeen) -> list[Need]:
    worst = (DeviceFilter(faulty=True), DeviceFilter(duplicate=True), DeviceFilter(failing=True), DeviceFilter(online=False))
    needs: dict[str, Need] = {}
    for asked in worst:
        for device in list_devices(session, seen, asked, Wish(MAX_ATTENTION)).items:
            needs.setdefault(device.device, need_of(device))
    return list(needs.values())[:MAX_ATTENTION]


def need_of(device: DeviceSummary) -> Need:
    """What a device needs most. Pure."""
    if device.faults:
        fault = device.faults[0]
        return Need(device.device, fault.code, device.last_seen, fault.message, fault.hint)
    if device.duplicates:
        others = ", ".join(one.address for one in device.duplicates)
        return Need(
            device.device, "duplicate-device", device.duplicates[0].last_at,
            f"Several devices speak under this id, from {others}.", "Enrol the copy under an id of its own.",
        )  # fmt: skip
    for slot in device.slots:
        if slot.update is not None and slot.update.code:
            return Need(
                device.device, slot.update.code, slot.since, slot.update.message,
                f"It serves {slot.model}@{slot.version} on." if slot.version else "Nothing serves in this slot.",
            )  # fmt: skip
    return Need(
        device.device, "offline", device.last_seen, "It is not there.",
        "Look whether it has power and a network; what it runs serves on.",
    )  # fmt: skip
