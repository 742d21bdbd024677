"""All rollouts: those that are open first, then the newest."""

from __future__ import annotations

import msgspec

from edgelift_fleet.console.kinds import ConsolePage, Form, PageAsked
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages import RolloutSummary
from edgelift_fleet.paging import Wish
from edgelift_fleet.rollout.listing import STATES, RolloutFilter
from edgelift_fleet.rollout.situation import TERMINAL

#: Rollouts on a page, and open ones that stand before the first.
PAGE, OPEN = 50, 50


class RolloutsPage(msgspec.Struct, frozen=True):
    """Rollouts.

    Attributes:
        open: that are under way, newest first; only on the first page of all.
        rollouts: this page of those that the filters leave, newest first; `total` of them, `next` the last id if
            more follow.
        states: that can be asked for.
    """

    open: list[RolloutSummary]
    rollouts: list[RolloutSummary]
    total: int
    next: str
    states: list[str]


def read_rollouts(fleet: Fleet, asked: PageAsked) -> RolloutsPage:
    """Read them. Raises ContractError `bad-id`, `malformed`, `not-found`."""
    query = asked.query
    wanted = RolloutFilter(query.get("state", ""), query.get("name", "").strip(), query.get("release", "").strip())
    found = fleet.rollouts.list(wanted, Wish(PAGE, query.get("after", "")))
    whole = wanted == RolloutFilter() and not query.get("after")
    under_way = fleet.rollouts.list(RolloutFilter("open"), Wish(OPEN)).items if whole else []
    told = {one.id for one in under_way}
    rest = [one for one in found.items if one.id not in told]
    return RolloutsPage(under_way, rest, found.total, found.next, ["open", *STATES])


def _is_lively(data: RolloutsPage) -> bool:
    return any(one.state not in TERMINAL for one in [*data.open, *data.rollouts])


PAGES = (ConsolePage("/rollouts", "rollouts.html", read_rollouts, nav="Rollouts", lively=_is_lively),)
FORMS: tuple[Form, ...] = ()
