"""Lists of rollouts: newest first unless asked otherwise, in a fixed number of statements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract import codec
from edgelift_contract.errors import ContractError
from edgelift_contract.ids import parse_release
from edgelift_fleet.messages import RolloutSummary
from edgelift_fleet.paging import Page, Wish, cut, order_of
from edgelift_fleet.rollout.commands import get_rollout
from edgelift_fleet.rollout.observe import rollout_id
from edgelift_fleet.rollout.situation import TERMINAL, RolloutState
from edgelift_fleet.rollout.view import summaries
from edgelift_fleet.tables import RolloutRow

#: Rollouts in a list of which no page was asked for: the newest.
WHOLE_ROLLOUTS = Wish(200)
STATES = get_args(RolloutState)
SORTS = {"created": RolloutRow.number, "changed": RolloutRow.changed_at, "state": RolloutRow.state}


@dataclass(frozen=True)
class RolloutFilter:
    """What rollouts are asked for; all of it must hold.

    Attributes:
        state: one of `RolloutSummary.state`, or `open` for those that have not ended.
        name: as a person named it.
        release: as `digits@2`.
    """

    state: str = ""
    name: str = ""
    release: str = ""

    def where(self) -> list[sa.ColumnElement[bool]]:
        """As conditions. Raises ContractError `bad-id`, `malformed`."""
        made: list[sa.ColumnElement[bool]] = []
        if self.state == "open":
            made.append(RolloutRow.state.not_in(TERMINAL))
        elif self.state not in ("", *STATES):
            raise ContractError(
                "malformed", f"No rollout is ever {self.state[:40]!r}.", hint=f"States: open, {', '.join(STATES)}."
            )
        elif self.state:
            made.append(RolloutRow.state == self.state)
        if self.name:
            made.append(_holds(RolloutRow.plan, f'"name":{codec.canonical_json(self.name).decode()}'))
        if self.release:
            model, version = parse_release(self.release)
            made += [RolloutRow.model == model, RolloutRow.version == version]
        return made


EVERY = RolloutFilter()


def list_rollouts(session: Session, asked: RolloutFilter, wish: Wish) -> Page[RolloutSummary]:
    """Rollouts that `asked` means; `after` of `wish` is a rollout's id, as `r7`.

    Raises:
        ContractError: `bad-id`, `malformed`, `not-found`.
    """
    order = order_of(wish.sort, SORTS, RolloutRow.number, "-created")
    where = asked.where()
    query = sa.select(RolloutRow).where(*where).order_by(*order.clauses())
    if wish.after:
        number = get_rollout(session, wish.after).number
        query = query.where(order.after(session, number, f"rollout {wish.after!r}"))
    rows, more = cut(wish, list(session.scalars(query.limit(wish.most + 1))))
    total = session.scalar(sa.select(sa.func.count()).select_from(RolloutRow).where(*where)) or 0
    return Page(summaries(session, rows), total, rollout_id(rows[-1].number) if more and rows else "")


def _holds(column: Any, text: str) -> sa.ColumnElement[bool]:
    """Does it hold exactly this text? LIKE would mind upper and lower case on one engine and not on the other."""
    made: sa.ColumnElement[bool] = sa.func.replace(column, text, "") != column
    return made
