"""All releases, newest first: what each is for, how many serve it, and whether it is being given out."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.console.kinds import ConsolePage, Form, PageAsked
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages import ReleaseView
from edgelift_fleet.paging import Wish
from edgelift_fleet.release_list import list_releases
from edgelift_fleet.rollout.listing import RolloutFilter
from edgelift_fleet.tables import DeviceRow, ReleaseRow

#: Releases on a page, models that are offered as filters, and rollouts under way that are looked through.
PAGE, MODELS, _UNDER_WAY = 50, 30, 500


class ReleaseLine(msgspec.Struct, frozen=True):
    """A release in one line.

    Attributes:
        release: as `digits@2`.
        state: `fault`, `retired`, `running` (a rollout gives it out), `serving`, or `published` (nobody has it).
        running: slots that serve it.
        rollouts: ids of those that give it out.
        classes: hardware classes that it has something for.
        smallest, largest: of its artifacts, bytes.
        note: what is wrong with it, or why it is retired.
    """

    release: str
    state: str
    running: int
    rollouts: list[str]
    classes: list[str]
    artifacts: int
    smallest: int
    largest: int
    published_at: float
    note: str = ""


class ReleasesPage(msgspec.Struct, frozen=True):
    """The releases of a page.

    Attributes:
        releases: of this page; `total` of them all, `next` the last one if more follow.
        models: names that can be filtered by, as many as are offered.
        devices: in the fleet.
        any: is there a release at all?
    """

    releases: list[ReleaseLine]
    total: int
    next: str
    models: list[str]
    devices: int
    any: bool


def read_releases(fleet: Fleet, asked: PageAsked) -> ReleasesPage:
    """Read it. Raises ContractError `bad-id`, `malformed`, `not-found`."""
    under_way: dict[str, list[str]] = {}
    for one in fleet.rollouts.list(RolloutFilter("open"), Wish(_UNDER_WAY)).items:
        under_way.setdefault(one.release, []).append(one.id)
    wish = Wish(PAGE, asked.query.get("after", ""), asked.query.get("sort", ""))
    with fleet.db.read() as session:
        found = list_releases(
            session, fleet.site.blobs, wish, name=asked.query.get("name", ""), retired=asked.flag("retired")
        )
        models, devices = _models(session), session.scalar(sa.select(sa.func.count()).select_from(DeviceRow)) or 0
    lines = [line_of(one, under_way.get(f"{one.model}@{one.version}", [])) for one in found.items]
    return ReleasesPage(lines, found.total, found.next, models, devices, bool(models))


def _models(session: Session) -> list[str]:
    return list(session.scalars(sa.select(ReleaseRow.model).distinct().order_by(ReleaseRow.model).limit(MODELS)))


def line_of(release: ReleaseView, rollouts: list[str]) -> ReleaseLine:
    """A release as a line. Pure."""
    sizes = [one.size_bytes for one in release.artifacts]
    return ReleaseLine(
        f"{release.model}@{release.version}", state_of(release, bool(rollouts)), release.running, rollouts,
        sorted({one.hardware_class for one in release.artifacts}), len(sizes), min(sizes, default=0),
        max(sizes, default=0), release.published_at, release.fault or release.retired_why,
    )  # fmt: skip


def state_of(release: ReleaseView, under_way: bool) -> str:
    """A release's state in a word; see `ReleaseLine`. Pure."""
    if release.fault:
        return "fault"
    if release.retired_at:
        return "retired"
    return "running" if under_way else "serving" if release.running else "published"


PAGES = (ConsolePage("/releases", "releases.html", read_releases, nav="Releases"),)
FORMS: tuple[Form, ...] = ()
