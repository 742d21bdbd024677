"""Blobs that nothing names are deleted, once nothing has named them for an hour: safe beside publishing and downloads.

What names a blob: `named`. Since when none does: `unnamed`; a blob that is found so for the first time has its hour from
then. A device that is still fetching a release that was deleted has that hour too. Should a manifest be missing, what it
names isn't known, and nothing is collected before its release is published again or deleted.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from edgelift_contract.errors import ContractError
from edgelift_fleet.blobs import Blobs
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.keeping.named import named_artifacts, named_blobs
from edgelift_fleet.messages.keeping import CollectedBlob, CollectReport
from edgelift_fleet.unnamed import keep, mark, marks

#: For how long nothing must have named a blob, seconds, unless asked otherwise.
OLDER_THAN_S = 3600.0
#: … and no less: a publisher may be about to name what is there already.
LEAST_S = 600.0
#: Blobs that a report names.
MAX_NAMED = 1000
#: Blobs that are deleted in one transaction.
_AT_ONCE = 200


def collect(
    db: Database,
    blobs: Blobs,
    *,
    older_than_s: float = OLDER_THAN_S,
    dry_run: bool = False,
    now: float | None = None,
) -> CollectReport:
    """Delete what nothing has named for long enough, and what interrupted uploads left.

    Args:
        db: of the site.
        blobs: of the site.
        older_than_s: for how long; at least `LEAST_S`.
        dry_run: only say what would be deleted; nothing is changed.
        now: seconds since 1970.

    Raises:
        ContractError: `malformed` for too short a time, `missing-blob` when a manifest is missing or damaged.
        DeviceError: `read-only`, `disk-error`.
        TransportError: `busy` when the database or a far blob store does not answer.
    """
    if not older_than_s >= LEAST_S:
        raise ContractError(
            "malformed", f"{older_than_s:g} s are too short: a publisher may be about to name what is there.",
            hint=f"Write at least {LEAST_S:g}s.",
        )  # fmt: skip
    now = time.time() if now is None else now
    stored, named = blobs.stored(), _named(db, blobs)
    with db.read() as session:
        since = marks(session)
    unnamed = sorted(stored.keys() - named)
    due = [sha256 for sha256 in unnamed if since.get(sha256, now) <= now - older_than_s]
    waiting = {sha256: since.get(sha256, now) + older_than_s for sha256 in unnamed if sha256 not in set(due)}
    if not dry_run:
        _note(db, since, named, stored, now)
        due = _delete(db, blobs, due, now - older_than_s)
    left = blobs.leftovers(older_than_s, delete=not dry_run)
    return CollectReport(
        dry_run=dry_run, collected=len(due), collected_bytes=sum(stored[sha256] for sha256 in due),
        waiting=len(waiting), waiting_bytes=sum(stored[sha256] for sha256 in waiting),
        next_at=min(waiting.values(), default=0.0), named=len(stored) - len(unnamed), leftovers=len(left),
        leftover_bytes=sum(left.values()),
        blobs=[CollectedBlob(sha256, stored[sha256], since[sha256]) for sha256 in due[:MAX_NAMED]],
    )  # fmt: skip


def _named(db: Database, blobs: Blobs) -> set[str]:
    with db.read() as session:
        artifacts = named_artifacts(session)
    found = named_blobs(artifacts, blobs)
    if found.unread:
        name = found.unready(set())[0]
        raise ContractError(
            "missing-blob",
            f"A manifest of {name} is missing or damaged, so what it names isn't known; nothing was collected.",
            hint=f"Publish {name} again, or delete it.",
        )
    return found.all


def _note(db: Database, before: Mapping[str, float], named: set[str], stored: Collection[str], now: float) -> None:
    """Marks as they should stand: of what is named or gone none, of what is unnamed since it was first seen so."""
    stale = [sha256 for sha256 in before if sha256 in named or sha256 not in stored]
    new = set(stored) - named - before.keys()
    if not stale and not new:
        return
    with db.write(SITE) as session:
        keep(session, stale)
        mark(session, new - marks(session).keys(), now)


def _delete(db: Database, blobs: Blobs, due: Sequence[str], before: float) -> list[str]:
    """Delete those that are still marked; whoever is about to name one has dropped its mark. Returns which those were."""
    done: list[str] = []
    for first in range(0, len(due), _AT_ONCE):
        with db.write(SITE) as session:
            since = marks(session)
            mine = [one for one in due[first : first + _AT_ONCE] if one in since and since[one] <= before]
            blobs.remove(mine)
            keep(session, mine)
        done += mine
    return done
