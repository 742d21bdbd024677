"""One release: how good and fast its artifacts are, where it runs, what happened to it, and what can be done with it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import msgspec
from sqlalchemy.orm import Session

from edgelift_contract.errors import ContractError
from edgelift_contract.release import Release
from edgelift_fleet.console.kinds import ConsolePage, Form, FormOrder, PageAsked
from edgelift_fleet.console.pages.release_artifacts import BoardArtifacts, boards_of
from edgelift_fleet.console.pages.release_meanings import ReleaseWords, words_of
from edgelift_fleet.console.pages.release_origins import ArtifactFile, ReleaseOrigin, files_of, origins_of
from edgelift_fleet.console.pages.release_reach import FailureLine, ReachLine, read_failures, read_reach
from edgelift_fleet.console.pages.releases_page import state_of
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.listed import refuse_unsigned
from edgelift_fleet.messages import ReleaseDetail, RetireRequest, RolloutSummary
from edgelift_fleet.paging import Wish
from edgelift_fleet.people.roles import rank
from edgelift_fleet.registry import get_release_row, read_release
from edgelift_fleet.release_detail import read_manifests, release_detail
from edgelift_fleet.rollout.listing import RolloutFilter
from edgelift_fleet.tables import ReleaseRow
from edgelift_fleet.trust.store import has_trust

#: Rollouts of it that are shown.
ROLLOUTS = 20


class ReleasePage(msgspec.Struct, frozen=True):
    """A release.

    Attributes:
        release: as `digits@2`; `path` is its page.
        state: as `ReleaseLine.state`.
        detail: as the API tells it.
        boards: its artifacts, by kind of board; `origins` where they came from; `files` what they consist of.
        told: what its source told of its numbers and of itself.
        missing: artifacts whose manifest can't be read.
        reach: who runs it and who would still fetch it; `running`, `left` and `bytes_to_come` are their sums.
        failures: why devices refused it or went back from it.
        rollouts: of it, newest first; `rollouts_total` of them.
        open: ids of those that have not ended.
        listed: what the builders' keys say of it, in a sentence.
        may_change: is whoever looks let change anything?
    """

    release: str
    path: str
    state: str
    detail: ReleaseDetail
    boards: list[BoardArtifacts]
    origins: list[ReleaseOrigin]
    files: list[ArtifactFile]
    told: list[ReleaseWords]
    missing: int
    reach: list[ReachLine]
    failures: list[FailureLine]
    rollouts: list[RolloutSummary]
    rollouts_total: int
    open: list[str]
    listed: str
    may_change: bool
    running: int
    left: int
    bytes_to_come: int


def read_release_page(fleet: Fleet, asked: PageAsked) -> ReleasePage:
    """Read it. Raises ContractError `bad-id`, `not-found`."""
    name = name_of(asked.named)
    rollouts = fleet.rollouts.list(RolloutFilter(release=name), Wish(ROLLOUTS))
    with fleet.db.read() as session:
        row = get_release_row(session, name)
        manifests = read_manifests(session, row, fleet.blobs)
        detail = release_detail(session, row, fleet.site.blobs, fleet.blobs, manifests.values())
        release = _read(row)
        reach, failures = read_reach(session, release) if release else [], read_failures(session, row)
        listed = _listed(session, release)
    under_way = [text.partition(" ")[0] for text in detail.uses.rollouts]
    return ReleasePage(
        name, path_of(asked.named), state_of(detail.release, bool(under_way)), detail,
        boards_of(release, manifests) if release else [], origins_of(release, manifests) if release else [],
        files_of(release, manifests) if release else [], words_of(detail.meanings),
        len(release.artifacts) - len(manifests) if release else 0,
        reach, failures, rollouts.items, rollouts.total, under_way, listed, rank(asked.who.role) >= rank("operator"),
        sum(line.running for line in reach), sum(line.left for line in reach if line.artifact),
        sum(line.bytes_to_come for line in reach),
    )  # fmt: skip


def name_of(named: Mapping[str, str]) -> str:
    """The release that a path names."""
    return f"{named['name']}@{named['version']}"


def path_of(named: Mapping[str, str]) -> str:
    """A release's page."""
    return f"/releases/{quote(named['name'], safe='')}/{quote(named['version'], safe='')}"


def _read(row: ReleaseRow) -> Release | None:
    try:
        return read_release(row)
    except ContractError:  # its view tells so, as its `fault`
        return None


def _listed(session: Session, release: Release | None) -> str:
    if release is None or not has_trust(session):
        return "This site signs nothing: devices take what this server gives them."
    try:
        refuse_unsigned(session, release)
    except ContractError as error:
        return error.message
    return f"All {len(release.artifacts)} artifacts are listed as genuine by the builders’ key."


def _retire(named: Mapping[str, str], fields: Mapping[str, str]) -> FormOrder:
    return FormOrder(
        "POST", f"/v1{_plain(named)}/retire", RetireRequest(fields.get("why", "").strip()), path_of(named)
    )


def _unretire(named: Mapping[str, str], _fields: Mapping[str, str]) -> FormOrder:
    return FormOrder("POST", f"/v1{_plain(named)}/unretire", None, path_of(named))


def _plain(named: Mapping[str, str]) -> str:
    return f"/releases/{named['name']}/{named['version']}"


_AT = "/releases/{name}/{version}"
PAGES = (ConsolePage(_AT, "release.html", read_release_page),)
FORMS = (Form(f"{_AT}/retire", _retire), Form(f"{_AT}/unretire", _unretire))
