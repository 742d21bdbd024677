"""Lists of devices, and how many there are of what: a fixed number of statements, and a page's cost is the page's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.ids import check_device_id
from edgelift_fleet import telemetry
from edgelift_fleet.cohorts import Where
from edgelift_fleet.device_filter import ALL, DeviceFilter, choose, duplicates, failing, online
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.messages import DeviceCounts, DeviceSummary
from edgelift_fleet.overview import summary
from edgelift_fleet.paging import WHOLE, Page, Wish, cut, order_of
from edgelift_fleet.tables import AssignmentRow, DeviceRow, SlotStateRow, TagRow

#: More ids than this are not handed to the database one by one.
_MAX_IDS = 1000
SORTS = {
    "id": DeviceRow.id,
    "class": DeviceRow.hardware_class,
    "last-seen": DeviceRow.last_seen,
    "enrolled": DeviceRow.enrolled_at,
}


def list_devices(
    session: Session, seen: LastSeen, asked: DeviceFilter = ALL, wish: Wish = WHOLE
) -> Page[DeviceSummary]:
    """Devices that `asked` means, by id unless `wish` says otherwise.

    Raises:
        ContractError: `bad-id`, `malformed`.
    """
    order = order_of(wish.sort, SORTS, DeviceRow.id, "id")
    where = choose(session, seen, asked)
    query = sa.select(DeviceRow.id).where(where).order_by(*order.clauses())
    if wish.after:
        query = query.where(order.after(session, check_device_id(wish.after), f"device {wish.after!r}"))
    ids, more = cut(wish, list(session.scalars(query.limit(wish.most + 1))))
    return Page(_summaries(session, seen, ids, where), _number(session, where), ids[-1] if more and ids else "")


def count_devices(session: Session, seen: LastSeen, asked: DeviceFilter = ALL) -> DeviceCounts:
    """How many devices `asked` means, and how many of them are what: counted by the database. Raises ContractError
    `bad-id`.
    """
    where = choose(session, seen, asked)
    by_class, by_release = count_by(session, where)
    return DeviceCounts(
        total=sum(by_class.values()),
        online=_number(session, where, online(session, seen, where)),
        failing=_number(session, where, failing(session, seen, where)),
        duplicates=_number(session, where, duplicates(session, seen, where)),
        by_class=by_class,
        by_release=by_release,
    )


def count_by(session: Session, where: Where) -> tuple[dict[str, int], dict[str, int]]:
    """How many devices of each hardware class, and how many slots serve each release."""
    of_class = sa.select(DeviceRow.hardware_class, sa.func.count()).where(where).group_by(DeviceRow.hardware_class)
    by_class = {str(row[0]): int(row[1]) for row in session.execute(of_class)}
    slots = sa.select(SlotStateRow.model, SlotStateRow.version, sa.func.count())
    slots = slots.join(DeviceRow, DeviceRow.id == SlotStateRow.device).where(where, SlotStateRow.artifact != "")
    serving = session.execute(slots.group_by(SlotStateRow.model, SlotStateRow.version))
    return dict(sorted(by_class.items())), dict(sorted((f"{m}@{v}", number) for m, v, number in serving))


def _number(session: Session, *where: Where) -> int:
    return session.scalar(sa.select(sa.func.count()).select_from(DeviceRow).where(*where)) or 0


def _summaries(session: Session, seen: LastSeen, ids: Sequence[str], where: Where) -> list[DeviceSummary]:
    """In five statements."""

    def rows(kind: Any, column: Any, *order: Any) -> Any:
        # All of `where` is read, not only `ids`, where these are too many to be named.
        mine = column.in_(ids if len(ids) <= _MAX_IDS else sa.select(DeviceRow.id).where(where))
        return session.scalars(sa.select(kind).where(mine).order_by(*order))

    devices = {row.id: row for row in rows(DeviceRow, DeviceRow.id)}
    slots: dict[str, list[SlotStateRow]] = {}
    for slot in rows(SlotStateRow, SlotStateRow.device, SlotStateRow.slot):
        slots.setdefault(slot.device, []).append(slot)
    tags: dict[str, dict[str, str]] = {}
    for tag in rows(TagRow, TagRow.device, TagRow.key):
        tags.setdefault(tag.device, {})[tag.key] = tag.value
    doubts = telemetry.doubts_of(session, set(ids))
    doubted = {one: [doubts[one]] if one in doubts else [] for one in ids}
    wanted = {row.device: row.body for row in rows(AssignmentRow, AssignmentRow.device)}
    return [
        summary(devices[one], seen, tags.get(one, {}), slots.get(one, []), wanted.get(one), [], doubted[one])
        for one in ids
    ]
