"""On what condition a change is made: that it was not made already, and that nobody else made another meanwhile.

**Made already.** Whoever asks for a change may give it a key of their own. What was answered is kept in the same
transaction that makes the change, so either both are there or neither; the same key again gets that answer, and nothing is
done. Two that come at once wait for each other by the transaction's own lock. A refusal changes nothing and is not kept.

**Meanwhile.** Whoever read something may say which state of it they saw: if it is another one now, nothing is done. A
version is of what people and the controller decide, not of what boards say: a board that polls in between harms nobody.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract import codec
from edgelift_contract.errors import ContractError
from edgelift_fleet.db import ROWS, Database, insert_new
from edgelift_fleet.tables import AssignmentRow, BundleRow, KeptAnswerRow, ReleaseRow, RolloutRow, TagRow

#: How long an answer is kept, seconds.
KEPT_S = 24 * 3600.0
#: The newest that are kept, and their bytes.
MAX_KEPT, MAX_KEPT_BYTES = 10_000, 64 << 20
#: How often what is too old or too many is forgotten, seconds.
_SWEEP_EVERY_S = 60.0


class AnsweredBefore(Exception):
    """Not a failure: this was asked for before, with the same key, and answered so; the transaction is undone."""

    def __init__(self, body: str) -> None:
        super().__init__("answered before")
        self.body = body


@dataclass(frozen=True)
class Conditions:
    """What one request says of when it is to be carried out.

    Attributes:
        key: its own name for the change; empty for none.
        request: a digest of what it asks for.
        seen: versions, one of which must be the present one; empty for any.
    """

    key: str = ""
    request: str = ""
    seen: tuple[str, ...] = ()

    def begin(self, session: Session) -> None:
        """Was it carried out already? First in the transaction that carries it out.

        Raises:
            AnsweredBefore: with what was answered.
            ContractError: `key-reused` when the key was another request's.
        """
        if not self.key:
            return
        row = session.get(KeptAnswerRow, self.key, populate_existing=True)
        if row is None or time.time() - row.at > KEPT_S:
            return
        if row.request != self.request:
            raise ContractError(
                "key-reused", f"The key {self.key[:40]!r} was given to another request.",
                hint="Give each request a key of its own, and the same one only to repeat it.",
            )  # fmt: skip
        raise AnsweredBefore(row.body)

    def match(self, now: str) -> None:
        """Is its version the one that was seen? Before anything is changed. Raises ContractError `changed-meanwhile`."""
        if self.seen and now not in self.seen and "*" not in self.seen:
            raise ContractError(
                "changed-meanwhile", "It was changed since it was read.", hint="Read it again, and decide anew."
            )

    def end(self, session: Session, message: Any) -> None:
        """It is carried out, and this is the answer: last in the transaction. Raises as `begin`."""
        if not self.key:
            return
        session.flush()
        now = time.time()
        session.execute(
            sa.delete(KeptAnswerRow).where(KeptAnswerRow.key == self.key, KeptAnswerRow.at < now - KEPT_S)
        )
        body = codec.canonical_json(message).decode()
        row = {"key": self.key, "request": self.request, "at": now, "body": body, "size_bytes": len(body)}
        if not insert_new(session, KeptAnswerRow, [row]):
            self.begin(session)  # another request took the key a moment ago


#: None.
FREE = Conditions()


def answered_before(db: Database, on: Conditions) -> None:
    """`Conditions.begin` for what is carried out in many transactions. Raises as that."""
    if on.key:
        with db.read() as session:
            on.begin(session)


def keep_answer(db: Database, on: Conditions, message: Any) -> None:
    """`Conditions.end` for what is carried out in many transactions. Raises as that."""
    if on.key:
        with db.write(ROWS) as session:
            on.end(session, message)


class Forgetting:
    """Forgets answers that are too old or too many; asked often, it looks now and then. For one thread at a time."""

    def __init__(self, db: Database) -> None:
        self._db, self._due = db, 0.0

    def look(self, now: float) -> int:
        """Forget, if it is time, at `now` in seconds since 1970; returns how many."""
        if 0 < self._due - now < _SWEEP_EVERY_S:
            return 0
        self._due = now + _SWEEP_EVERY_S
        with self._db.read() as session:
            query = sa.select(KeptAnswerRow.at, KeptAnswerRow.size_bytes)
            rows = session.execute(query.order_by(KeptAnswerRow.at.desc())).all()
        kept_bytes, before = 0, now - KEPT_S
        for number, (at, size) in enumerate(rows, 1):
            kept_bytes += size
            if number > MAX_KEPT or kept_bytes > MAX_KEPT_BYTES:
                before = max(before, at)
                break
        gone = sum(at <= before for at, _ in rows)
        if gone:
            with self._db.write(ROWS) as session:
                session.execute(sa.delete(KeptAnswerRow).where(KeptAnswerRow.at <= before))
        return gone


def version_of_device(session: Session, device: str) -> str:
    """Of what should run on a device, and of its tags."""
    revision = session.scalar(sa.select(AssignmentRow.revision).where(AssignmentRow.device == device)) or 0
    tags = sa.select(TagRow.key, TagRow.value, TagRow.source).where(TagRow.device == device)
    return _version(revision, *(tuple(row) for row in session.execute(tags.order_by(TagRow.key))))


def version_of_rollout(row: RolloutRow) -> str:
    """Of what was decided of a rollout."""
    return _version(row.number, row.state, row.wave, row.back, row.approved)


def version_of_release(row: ReleaseRow) -> str:
    """Of a release."""
    return _version(row.id, row.published_at, row.retired_at)


def version_of_bundle(row: BundleRow) -> str:
    """Of what became of a bundle."""
    return _version(row.id, row.state, row.kept)


def _version(*parts: Any) -> str:
    return codec.digest(codec.canonical_json(parts))[:16]
