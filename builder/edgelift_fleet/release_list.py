"""Lists of releases, with how many slots serve each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.ids import check_name, parse_release
from edgelift_fleet.messages import ArtifactView, ReleaseView
from edgelift_fleet.paging import WHOLE, Page, Wish, cut, gone, order_of
from edgelift_fleet.registry import read_release
from edgelift_fleet.rows import UnreadableRow
from edgelift_fleet.scrub import damaged_blobs, is_whole
from edgelift_fleet.tables import ReleaseRow, SlotStateRow

SORTS = {"published": ReleaseRow.id, "counter": ReleaseRow.release_counter, "name": ReleaseRow.model}


def list_releases(
    session: Session, blobs: Path, wish: Wish = WHOLE, *, name: str = "", retired: bool | None = None
) -> Page[ReleaseView]:
    """Releases, newest first unless `wish` says otherwise.

    Args:
        session: to read by.
        blobs: where a damaged one would be set aside.
        wish: which part of the list; `after` is a release, as `digits@2`.
        name: only releases of this model.
        retired: only those that are, or are not.

    Raises:
        ContractError: `bad-id`, `malformed`.
    """
    order = order_of(wish.sort, SORTS, ReleaseRow.id, "-published")
    where = [ReleaseRow.model == check_name("model", name)] if name else []
    if retired is not None:
        where.append(ReleaseRow.retired_at != 0 if retired else ReleaseRow.retired_at == 0)
    query = sa.select(ReleaseRow).where(*where).order_by(*order.clauses())
    if wish.after:
        model, version = parse_release(wish.after)
        number = sa.select(ReleaseRow.id).where(ReleaseRow.model == model, ReleaseRow.version == version)
        key = session.scalar(number)
        if key is None:
            raise gone(f"release {wish.after}")
        query = query.where(order.after(session, key, f"release {wish.after}"))
    rows, more = cut(wish, list(session.scalars(query.limit(wish.most + 1))))
    total = session.scalar(sa.select(sa.func.count()).select_from(ReleaseRow).where(*where)) or 0
    last = f"{rows[-1].model}@{rows[-1].version}" if more and rows else ""
    return Page(release_views(session, rows, blobs), total, last)


def release_views(session: Session, rows: Sequence[ReleaseRow], blobs: Path) -> list[ReleaseView]:
    """Releases as people see them, in one statement more."""
    damaged = damaged_blobs(blobs)
    running: dict[str, int] = {}
    query = sa.select(SlotStateRow.model, SlotStateRow.version, sa.func.count())
    for model, version, number in session.execute(query.group_by(SlotStateRow.model, SlotStateRow.version)):
        running[f"{model}@{version}"] = number
    found = [_release(row, running.get(f"{row.model}@{row.version}", 0)) for row in rows]
    return [_with_damage(release, blobs, damaged) for release in found] if damaged else found


def _with_damage(release: ReleaseView, blobs: Path, damaged: set[str]) -> ReleaseView:
    hurt = [artifact.hardware_class for artifact in release.artifacts if not is_whole(blobs, artifact.id, damaged)]
    if not hurt:
        return release
    text = f"Files of it are damaged ({', '.join(sorted(set(hurt)))}): publish it again."
    return msgspec.structs.replace(release, fault=text)


def _release(row: ReleaseRow, number: int) -> ReleaseView:
    try:
        release = read_release(row)
    except UnreadableRow as error:
        return ReleaseView(
            row.model, row.version, row.release_counter, row.published_at, [], number, fault=str(error),
            retired_at=row.retired_at, retired_why=row.retired_why,
        )  # fmt: skip
    entries = [
        ArtifactView(a.id, a.hardware_class, a.targets, a.runtime, a.format, a.variant, a.rank, a.size_bytes)
        for a in release.artifacts
    ]
    return ReleaseView(
        row.model, row.version, row.release_counter, row.published_at, entries, number, retired_at=row.retired_at,
        retired_why=row.retired_why,
    )  # fmt: skip
