"""How a release ends: retired, it is kept for those who have it and given to nobody new; deleted, it is gone.

Deleting takes the release away and leaves its files to the collection of blobs that nothing names.
"""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.errors import ContractError
from edgelift_contract.text import clean
from edgelift_fleet.messages import ReleaseUses
from edgelift_fleet.registry import get_release_row
from edgelift_fleet.rollout.observe import rollout_id
from edgelift_fleet.rollout.situation import TERMINAL
from edgelift_fleet.tables import ArtifactRow, ReleaseRow, RolloutRow
from edgelift_fleet.uses import in_words, release_uses


class ReleaseNamed(ContractError):
    """A release can't be deleted: `members` has all that names it, as `uses`."""

    def __init__(self, name: str, uses: ReleaseUses) -> None:
        super().__init__(
            "conflict", f"{name} can't be deleted: {in_words(uses)}.",
            hint="Retire it, so that nobody new gets it; or assign something else first.",
        )  # fmt: skip
        self.members: dict[str, Any] = {"uses": uses}


def retire(session: Session, name: str, why: str) -> ReleaseRow:
    """Give a release to nobody new. Retired already, it stays as it was. Inside a write transaction of the site.

    Raises:
        ContractError: `bad-id`, `not-found`; `conflict` while a rollout gives it out.
    """
    row = get_release_row(session, name)
    query = sa.select(RolloutRow.number).where(
        RolloutRow.model == row.model, RolloutRow.version == row.version, RolloutRow.state.not_in(TERMINAL)
    )
    numbers = list(session.scalars(query.order_by(RolloutRow.number)))
    if numbers:
        names = ", ".join(rollout_id(number) for number in numbers[:5])
        raise ContractError(
            "conflict", f"{name} can't be retired while it is rolled out: {names}.",
            hint=f"Wait for it, or: edgelift rollout cancel {rollout_id(numbers[0])}.",
        )  # fmt: skip
    if not row.retired_at:
        row.retired_at, row.retired_why = time.time(), clean(why)
    return row


def unretire(session: Session, name: str) -> ReleaseRow:
    """Let a retired release be given out again. Raises ContractError `bad-id`, `not-found`."""
    row = get_release_row(session, name)
    row.retired_at, row.retired_why = 0.0, ""
    return row


def delete(session: Session, name: str) -> None:
    """Take a release away that nothing names. Inside a write transaction of the site.

    Raises:
        ContractError: `bad-id`, `not-found`, `conflict` (a `ReleaseNamed`).
    """
    row = get_release_row(session, name)
    uses = release_uses(session, row)
    if uses.counts:
        raise ReleaseNamed(name, uses)
    session.execute(sa.delete(ArtifactRow).where(ArtifactRow.release_id == row.id))
    session.execute(sa.delete(ReleaseRow).where(ReleaseRow.id == row.id))
