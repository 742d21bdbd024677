"""`edgelift devices`: the devices in a list, counts first, and how one of them is put in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edgelift.common import ToOption, selector
from edgelift.completion import names
from edgelift.list_command import Asking, lists, show
from edgelift.listing import ListView, Look, PageWish, Query, addressed, ask, counted, given, is_list, left_of
from edgelift.output import ago

if TYPE_CHECKING:
    from edgelift_fleet.client import Client, ListPage
    from edgelift_fleet.messages import DeviceCounts, DeviceSummary, SlotSummary

_COLUMNS = ("device", "online", "via", "class", "tags", "slot", "runs", "since", "last update")
#: Releases and classes that the line of counts names; a fleet has few.
_NAMED = 6


@lists
def devices(
    context: typer.Context,
    failing: Annotated[
        bool | None,
        typer.Option(
            "--failing/--not-failing", help="A slot could not take what it should run, and still should."
        ),
    ] = None,
    online: Annotated[bool | None, typer.Option("--online/--offline", help="There, or not.")] = None,
    hardware_class: Annotated[
        str,
        typer.Option("--class", help="Of this class, or a pattern as arm64-*.", autocompletion=names("classes")),
    ] = "",
    tag: Annotated[
        list[str] | None,
        typer.Option(
            "--tag", help="With this tag, as KEY or KEY=VALUE; all of several.", autocompletion=names("tags")
        ),
    ] = None,
    release: Annotated[
        str,
        typer.Option("--release", help="Serving this, as digits@2 or digits.", autocompletion=names("releases")),
    ] = "",
    to: ToOption = None,
    duplicate: Annotated[
        bool | None, typer.Option("--duplicate/--no-duplicate", help="Several devices speak under its id.")
    ] = None,
    faulty: Annotated[
        bool | None, typer.Option("--faulty/--not-faulty", help="Set apart: `devices mend`.")
    ] = None,
    counts: Annotated[bool, typer.Option("--counts", help="The counts alone.")] = False,
    *,
    asking: Asking,
) -> None:
    """List devices, counts first: what runs where, since when, and how the last update ended; or show or mend one."""
    if not is_list(context):
        return
    query: Query = {
        "to": selector(to or ""), "class": hardware_class, "tag": tag or [], "release": release, "failing": failing,
        "online": online, "duplicate": duplicate, "faulty": faulty,
    }  # fmt: skip
    look = _look(query, asking.wish, alone=counts)
    if counts:
        show(asking, look, lambda client, _: _count(client, query))
    else:
        show(asking, look, lambda client, most: _page(client, query, asking.wish, most).items)


def _count(client: Client, query: Query) -> DeviceCounts:
    from edgelift_fleet.messages import DeviceCounts

    path, body = addressed("/v1/devices/counts", query, search="/v1/devices/counts")
    return client.get(path, DeviceCounts) if body is None else client.ask(path, body, DeviceCounts)


def _page(client: Client, query: Query, wish: PageWish, most: int | None) -> ListPage[DeviceSummary]:
    from edgelift_fleet.messages import DeviceSummary

    return ask(client, "/v1/devices", query, DeviceSummary, wish, most, search="/v1/devices/search")


def _look(query: Query, wish: PageWish, *, alone: bool) -> Look:
    """How to ask for the devices, or for their counts `alone`."""

    def look(client: Client, most: int | None) -> ListView:
        found = _count(client, query)
        page = None if alone else _page(client, query, wish, most)
        items = page.items if page else []
        last = items[-1].device if items else ""
        return ListView(
            noun="devices",
            head=_head(found, filtered=bool(given(query))),
            columns=_COLUMNS,
            rows=[row for device in items for row in device_rows(device)],
            items={device.device: device for device in items},
            counts=found,
            left=left_of(page, wish) if page else 0,
            onward=f"the same with --after {last}, or with --all; fewer by --failing, --class, --tag, --to",
            notes=found.warnings + [line for device in items for line in faults_in_words(device)],
            quiet=("last_seen",),
        )

    return look


def _head(found: DeviceCounts, *, filtered: bool) -> str:
    """The counts, in a sentence."""
    of = " of those asked for" if filtered else ""
    if not found.total:
        return "No device is as asked for." if filtered else "No device has enrolled yet."
    parts = [f"{found.online:,} online", f"{found.total - found.online:,} offline", f"{found.failing:,} failing"]
    if found.duplicates:
        parts.append(f"{found.duplicates:,} DUPLICATE")
    text = f"{counted(found.total, 'devices')}{of}: {', '.join(parts)}"
    for what, numbers in (("", found.by_class), ("serving ", found.by_release)):
        if numbers:
            most = sorted(numbers.items(), key=lambda one: -one[1])
            rest = sum(number for _, number in most[_NAMED:])
            named = [f"{number:,} {name or 'of no class'}" for name, number in most[:_NAMED]]
            text += f"; {what}{', '.join([*named, *([f'{rest:,} others'] if rest else [])])}"
    return f"{text}."


def device_rows(device: DeviceSummary) -> list[tuple[str, ...]]:
    """A device as rows of a table, one for each slot."""
    online = "yes" if device.online else f"no, {ago(device.last_seen)}"
    if device.duplicates:
        online = f"DUPLICATE: {speakers(device)}"
    if device.doubts:
        online += f"; DOUBTED: {', '.join(sorted({doubt.what for doubt in device.doubts}))}"
    if device.faults:
        online = f"SET APART: {', '.join(sorted({fault.what for fault in device.faults}))}"
    first = (device.device, online, device.transport, device.hardware_class, tags_in_words(device.tags))
    if not device.slots:
        return [(*first, "–", "nothing", "", "")]
    rows: list[tuple[str, ...]] = []
    for slot in device.slots:
        rows.append(
            (*first, slot.slot, runs_in_words(slot), ago(slot.since) if slot.since else "", update_in_words(slot))
        )
        first = ("", "", "", "", "")
    return rows


def speakers(device: DeviceSummary) -> str:
    """Where the devices that share an id speak from."""
    return " and ".join(one.address or "an unknown address" for one in device.duplicates)


def faults_in_words(device: DeviceSummary) -> list[str]:
    """Why a device is set apart, what of its words counts for nothing, and what to do."""
    apart = [f"{device.device} is set apart: {one.message} {one.hint} ({one.code})" for one in device.faults]
    return apart + [f"{one.message} {one.hint} ({one.code})" for one in device.doubts]


def tags_in_words(tags: dict[str, str]) -> str:
    """`barn row=north`."""
    return " ".join(f"{key}={value}" if value else key for key, value in tags.items())


def runs_in_words(slot: SlotSummary) -> str:
    """What a slot serves, and what it should if that is something else."""
    runs = f"{slot.model}@{slot.version}" if slot.artifact else "nothing"
    wanted = slot.desired
    if wanted is None:
        return runs if not slot.artifact else f"{runs} (to be emptied)"
    return runs if wanted.artifact == slot.artifact else f"{runs} (wanted: {wanted.model}@{wanted.version})"


def update_in_words(slot: SlotSummary) -> str:
    """How a slot's last update ended, or how far it is."""
    update = slot.update
    if update is None:
        return ""
    text = f"{update.model}@{update.version} {update.outcome}"
    if update.outcome == "in-progress":
        text += f", {update.phase}"
    return f"{text}: {update.message} ({update.code})" if update.code else text
