"""Silences: what nobody is told of for a while, by whom and why."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.errors import ContractError
from edgelift_contract.text import clean
from edgelift_fleet.alerts.decide import Key
from edgelift_fleet.alerts.kinds import KINDS
from edgelift_fleet.cohorts import select_ids
from edgelift_fleet.messages.alerts import SilenceRequest, SilenceView
from edgelift_fleet.selector import parse_selector
from edgelift_fleet.tables import AlertSilenceRow

#: Silences that are kept; those that are over go after so long, seconds.
MAX_SILENCES, LISTED_S = 1000, 30 * 86_400.0
_ROLLOUT = re.compile(r"r[0-9]{1,9}\Z")


def silence(session: Session, wanted: SilenceRequest, who: str, now: float) -> SilenceView:
    """Begin a silence; inside a write transaction.

    Raises:
        ContractError: `not-found` for a code that no alert has; `bad-id` for a selector or a rollout that is none;
            `conflict` for boards of an alert that is about none; `too-large` where there are too many.
    """
    kind = KINDS.get(wanted.code)
    if kind is None:
        raise ContractError(
            "not-found",
            f"No alert has the code {wanted.code[:40]!r}.",
            hint=f"There are: {', '.join(sorted(KINDS))}.",
        )
    if wanted.to:
        parse_selector(wanted.to)
    if wanted.rollout and not _ROLLOUT.match(wanted.rollout):
        raise ContractError("bad-id", f"{wanted.rollout!r} is no rollout.", hint="Write it as r7.")
    if (wanted.to and kind.about != "device") or (wanted.rollout and kind.about != "rollout"):
        told = "boards" if wanted.to else "a rollout"
        raise ContractError(
            "conflict", f"The alert {wanted.code} is not about {told}.", hint=f"It is about a {kind.about}."
        )
    row = AlertSilenceRow
    session.execute(sa.delete(row).where(row.until < now - LISTED_S))
    if (session.scalar(sa.select(sa.func.count()).select_from(row)) or 0) >= MAX_SILENCES:
        raise ContractError(
            "too-large", f"There are {MAX_SILENCES} silences.", hint="They go 30 days after they are over."
        )
    made = row(
        id=secrets.token_hex(4), code=wanted.code, selector=wanted.to, rollout=wanted.rollout, until=now + wanted.for_s,
        made_at=now, made_by=who[:80], why=clean(wanted.why), ended_at=0.0,
    )  # fmt: skip
    session.add(made)
    session.flush()
    return view_of_silence(made, now)


def unsilence(session: Session, name: str, now: float) -> SilenceView:
    """End one; one that is over stays so. Raises ContractError `not-found`."""
    row = session.get(AlertSilenceRow, name)
    if row is None:
        raise ContractError(
            "not-found", f"There is no silence {name[:16]!r}.", hint="See: edgelift alert silences."
        )
    if not row.ended_at and now < row.until:
        row.ended_at = now
    return view_of_silence(row, now)


def list_silences(session: Session, now: float) -> list[SilenceView]:
    """All that are kept, the newest first."""
    rows = session.scalars(sa.select(AlertSilenceRow).order_by(AlertSilenceRow.made_at.desc(), AlertSilenceRow.id))
    return [view_of_silence(row, now) for row in rows]


def view_of_silence(row: AlertSilenceRow, now: float) -> SilenceView:
    """A silence as people see it."""
    state: Literal["holds", "over", "ended"] = "ended" if row.ended_at else "holds" if now < row.until else "over"
    return SilenceView(
        row.id, state, row.code, row.selector, row.rollout, row.until, row.made_at, row.made_by, row.why
    )


def silenced(session: Session, troubles: Iterable[Key], now: float) -> dict[Key, float]:
    """Of which of these troubles nobody is told now, and until when, seconds since 1970.

    One statement, and one to three for each silence of some boards.
    """
    row = AlertSilenceRow
    rows = session.scalars(sa.select(row).where(row.ended_at == 0, row.until > now).order_by(row.until)).all()
    found: dict[Key, float] = {}
    if not rows:
        return found
    by_code: dict[str, list[str]] = {}
    for code, subject in troubles:
        by_code.setdefault(code, []).append(subject)
    meant: dict[str, set[str]] = {}
    for held in rows:  # of several the one that lasts longest is read last
        subjects = by_code.get(held.code, [])
        if held.selector and subjects:
            if held.selector not in meant:
                meant[held.selector] = set(_meant(session, held.selector))
            mine = [subject for subject in subjects if subject in meant[held.selector]]
        else:
            mine = [subject for subject in subjects if held.rollout in ("", subject)]
        found |= dict.fromkeys(((held.code, subject) for subject in mine), held.until)
    return found


def _meant(session: Session, selector: str) -> list[str]:
    try:
        return select_ids(session, selector)
    except ContractError:  # a newer release's selector: it silences nothing
        return []
