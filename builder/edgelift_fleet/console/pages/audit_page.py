"""Who did what, when, from where and why, and what came of it; and where the log is checked."""

from __future__ import annotations

import msgspec

from edgelift_fleet.console.kinds import ConsolePage, Form, PageAsked, number
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages.audit import AuditEntry
from edgelift_fleet.paging import Wish
from edgelift_fleet.people.audit import list_audit

#: Entries on a page.
PAGE = 100


class AuditPage(msgspec.Struct, frozen=True):
    """A page of the log, newest first: what was begun and has ended is shown by its end. `next`: see `paging.Page`."""

    entries: list[AuditEntry]
    total: int
    next: str


def read_audit(fleet: Fleet, asked: PageAsked) -> AuditPage:
    """Read it. Raises ContractError `bad-id`, `malformed`."""
    since = max(0.0, number(asked.query, "since", 0.0))
    wish = Wish(PAGE, asked.query.get("after", ""))
    with fleet.db.read() as session:
        found = list_audit(session, asked.query.get("who", "").strip(), since, wish, joined=True)
    return AuditPage(found.items, found.total, found.next)


PAGES = (ConsolePage("/audit", "audit.html", read_audit, nav="Audit", least="admin"),)
FORMS: tuple[Form, ...] = ()
