"""The log of what people did: one chain, whichever server writes it. Rows are added and never changed.

A change has a row of its own before it is made (`begun`), in a transaction of its own, and another one with its outcome
after it. Not one in the change's transaction: many changes are several transactions, or files, or blobs elsewhere; and of a
server that dies in between the log says what is true: that it was begun, and that nobody saw its end. Where the row before
can't be written, nothing is changed.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace
from sqlalchemy.orm import Session, aliased

from edgelift_contract.errors import ContractError
from edgelift_contract.text import clean
from edgelift_fleet.db import AUDIT, Database
from edgelift_fleet.messages.audit import BEGINNING, AuditEntry, digest_of_entry
from edgelift_fleet.paging import Page, Wish, cut, order_of
from edgelift_fleet.people.budget import LogBudget
from edgelift_fleet.people.roles import Principal
from edgelift_fleet.tables import AuditRow

#: Characters that are kept of what a request says.
MAX_WHY, _MAX_PATH, _MAX_ABOUT = 500, 500, 300
BEGUN, DONE = "begun", "done"
NOBODY = Principal("", "", "")
#: The newest, of a list of which no page was asked for.
WHOLE_AUDIT = Wish(200)
_SORTS = {"number": AuditRow.number}


@dataclass(frozen=True)
class Deed:
    """What somebody asked for.

    Attributes:
        who: asked.
        address: from where.
        operation, method, path: what.
        about: the names in its path.
        why: the reason that they gave.
    """

    who: Principal
    address: str
    operation: str
    method: str
    path: str
    about: str = ""
    why: str = ""


def check_why(why: str) -> str:
    """A reason as it is kept, `clean`. Raises ContractError `malformed` for one that is too long, or is not text."""
    if len(why) > MAX_WHY:
        raise ContractError(
            "malformed", f"The reason has {len(why)} characters; at most {MAX_WHY} are kept.", hint="Say less."
        )
    if any("\ud800" <= letter <= "\udfff" for letter in why):  # bytes of a command line
        raise ContractError("malformed", f"The reason {why!a} is not text.", hint="Only a path may be any bytes.")
    return clean(why)


def append(session: Session, deed: Deed, outcome: str, now: float, *, ends: int = 0) -> AuditEntry:
    """Add a row; inside a write transaction of the scope `AUDIT`, or `SITE`."""
    last = session.execute(
        sa.select(AuditRow.number, AuditRow.digest).order_by(AuditRow.number.desc()).limit(1)
    ).first()
    number, before = (last[0], last[1]) if last else (0, BEGINNING)
    entry = AuditEntry(
        number=number + 1, at=round(now, 3), who=deed.who.name, role=deed.who.role[:16], address=_text(deed.address, 64),
        operation=deed.operation[:64], method=_text(deed.method, 16), path=_text(deed.path, _MAX_PATH),
        about=_text(deed.about, _MAX_ABOUT), why=_text(deed.why, MAX_WHY), outcome=outcome, ends=ends,
    )  # fmt: skip
    entry = replace(entry, digest=digest_of_entry(entry, before))
    session.add(AuditRow(**msgspec.structs.asdict(entry)))
    session.flush()
    return entry


def _text(text: str, longest: int) -> str:
    return clean(text)[:longest]


class Audit:
    """Writes the log of one site. Safe to use from several threads."""

    def __init__(self, db: Database, now: Callable[[], float] = time.time) -> None:
        self._db, self._now = db, now
        #: Refusals of people who are known, of whoever isn't, and logins that failed under a name that somebody has: none
        #: fills the disk, or crowds out another.
        self._known, self._unknown = LogBudget(burst=200, every_s=10.0), LogBudget(burst=50, every_s=60.0)
        self._failed = LogBudget(burst=200, every_s=10.0)

    def begin(self, deed: Deed) -> int:
        """Somebody is about to change something. Returns the row's number. Raises EdgeliftError: the database's."""
        with self._db.write(AUDIT) as session:
            return append(session, deed, BEGUN, self._now()).number

    def end(self, deed: Deed, number: int, outcome: str) -> None:
        """What came of what was begun: `done`, or a code. Raises EdgeliftError: the database's."""
        with self._db.write(AUDIT) as session:
            append(session, deed, outcome, self._now(), ends=number)

    def refuse(self, deed: Deed, code: str) -> None:
        """Somebody was refused before anything was begun; of very many only some are kept, and how many were not.

        Raises:
            EdgeliftError: the database's.
        """
        self._refuse(deed, code, self._known if deed.who.name else self._unknown)

    def refuse_login(self, deed: Deed, name: str, code: str) -> None:
        """A login failed; as `refuse`.

        Args:
            deed: of whom nobody knows.
            name: who it was to be; empty for a name that nobody has, which is not kept: people type passwords there.
            code: of the refusal.
        """
        about = f"name={name}" if name else "a name that nobody has"
        self._refuse(dataclasses.replace(deed, about=about), code, self._failed if name else self._unknown)

    def _refuse(self, deed: Deed, code: str, budget: LogBudget) -> None:
        now = self._now()
        left_out = budget.take(now)
        if left_out is None:
            return
        about = f"{deed.about} (and {left_out} more that are not listed)".strip() if left_out else deed.about
        with self._db.write(AUDIT) as session:
            append(session, dataclasses.replace(deed, about=about), code, now)


def list_audit(session: Session, who: str, since: float, wish: Wish, *, joined: bool = False) -> Page[AuditEntry]:
    """Entries, the newest first unless asked otherwise; `after` of `wish` is an entry's number.

    Args:
        session: to read.
        who: only theirs; empty for everybody's.
        since: only from then on, seconds since 1970; 0 for all.
        wish: which part.
        joined: without what was begun and has ended, on whichever page its end stands.

    Raises:
        ContractError: `bad-id`, `malformed`.
    """
    order = order_of(wish.sort, _SORTS, AuditRow.number, "-number")
    where: list[sa.ColumnElement[bool]] = []
    if who:
        where.append(AuditRow.who == who)
    if since:
        where.append(AuditRow.at >= since)
    if joined:
        end = aliased(AuditRow)
        ended = sa.exists().where(end.ends == AuditRow.number)
        where.append(sa.or_(AuditRow.outcome != BEGUN, ~ended))
    query = sa.select(AuditRow).where(*where).order_by(*order.clauses())
    if wish.after:
        if not (wish.after.isascii() and wish.after.isdigit() and len(wish.after) < 19):
            raise ContractError("bad-id", f"{wish.after[:40]!r} is no number of an entry.")
        query = query.where(order.after(session, int(wish.after), "entry"))
    rows, more = cut(wish, list(session.scalars(query.limit(wish.most + 1))))
    total = session.scalar(sa.select(sa.func.count()).select_from(AuditRow).where(*where)) or 0
    return Page([entry_of(row) for row in rows], total, str(rows[-1].number) if more and rows else "")


def entry_of(row: AuditRow) -> AuditEntry:
    """A row as it was written."""
    return AuditEntry(**{name: getattr(row, name) for name in AuditEntry.__struct_fields__})
