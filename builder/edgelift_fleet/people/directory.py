"""What a site does about its people: adds and changes them, makes and takes back tokens, says whose a token is."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool

from edgelift_contract.errors import ContractError, TransportError
from edgelift_fleet.conditions import Conditions
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.messages.people import (
    AccessMade,
    AccessRequest,
    AccessView,
    Me,
    OwnPasswordRequest,
    PersonRemoved,
    PersonRequest,
    PersonView,
)
from edgelift_fleet.people.access import create_access, list_access, revoke_access, view_of_access
from edgelift_fleet.people.audit import Audit
from edgelift_fleet.people.known import KnownTokens
from edgelift_fleet.people.logins import Logins
from edgelift_fleet.people.persons import (
    add_person,
    check_name,
    end_logins,
    end_tokens,
    get_person,
    list_people,
    view_of_person,
)
from edgelift_fleet.people.roles import SITE_OWNER, Principal
from edgelift_fleet.tables import PersonRow

_FORGOTTEN = "Who has forgotten it has an admin give them another: edgelift user password NAME."


class People:
    """The people of one site.

    Attributes:
        known: whose tokens are, at hand for every request.
        audit: the log of what they do.
        logins: lets them in.
    """

    def __init__(self, db: Database, now: Callable[[], float] = time.time) -> None:
        self._db, self._now = db, now
        self.known = KnownTokens(db, now)
        self.audit = Audit(db, now)
        self.logins = Logins(db, self.audit, now)

    def everybody(self) -> list[PersonView]:
        """All, by name."""
        with self._db.read() as session:
            return list_people(session, self._now())

    def add(self, wanted: PersonRequest) -> PersonView:
        """Add one. Raises ContractError as `add_person`; `malformed` for a password that is none."""
        digest = self.logins.digest(wanted.password)
        now = self._now()
        with self._db.write(SITE) as session:
            return view_of_person(session, add_person(session, wanted.name, wanted.role, digest, now), now)

    def set_password(self, name: str, password: str) -> PersonView:
        """Give one another password; whoever is logged in by the old one is out.

        Raises:
            ContractError: `bad-id`, `not-found`; `malformed` for a password that is none.
        """
        check_name(name)
        digest, now = self.logins.digest(password), self._now()
        with self._db.write(SITE) as session:
            row = get_person(session, name)
            row.password = digest
            end_logins(session, name, now)
            made = view_of_person(session, row, now)
        self.known.forget()
        return made

    async def change_password(self, who: Principal, asked: OwnPasswordRequest, address: str) -> PersonView:
        """Give oneself another password; one's other logins end. For the event loop.

        Args:
            who: asks, as a person.
            asked: the old password and the new one.
            address: from where, which waits after too many tries as at a login.

        Raises:
            ContractError: `conflict` for who is no person; `malformed` for a password that is none.
            TransportError: `not-authorised` for a wrong old password; `too-many-tries`; `busy`: the database's.
        """
        if who.name == SITE_OWNER or ":" in who.name:
            raise ContractError(
                "conflict", f"{who.name} is no person, and has no password.",
                hint="Log in: edgelift login URL; or name whose it is: edgelift user password NAME.",
            )  # fmt: skip
        judged, right = await self.logins.judge(who.name, asked.old, address)
        if judged is None or not right:
            raise TransportError("not-authorised", "The old password is wrong.", hint=_FORGOTTEN)
        return await run_in_threadpool(self._replace_password, judged, asked.password, who.token)

    def _replace_password(self, judged: PersonRow, password: str, token: str) -> PersonView:
        digest, now = self.logins.digest(password), self._now()
        with self._db.write(SITE) as session:
            row = session.get(PersonRow, judged.name)
            if row is None or row.disabled or row.password != judged.password:  # changed while it was judged
                raise TransportError("not-authorised", "The old password is wrong.", hint=_FORGOTTEN)
            row.password = digest
            end_logins(session, row.name, now, but=token)
            made = view_of_person(session, row, now)
        self.known.forget()
        return made

    def set_role(self, name: str, role: str, on: Conditions) -> PersonView:
        """Give one another role. Raises ContractError `bad-id`, `not-found`, and what `on` refuses."""

        def change(row: PersonRow) -> None:
            row.role = role

        return self._change(name, change, on)

    def set_disabled(self, name: str, disabled: bool, on: Conditions) -> PersonView:
        """Shut one out, or let one in again; tokens of programs are refused meanwhile. Raises as `set_role`."""

        def change(row: PersonRow) -> None:
            row.disabled = disabled

        return self._change(name, change, on)

    def _change(self, name: str, change: Callable[[PersonRow], None], on: Conditions) -> PersonView:
        check_name(name)
        now = self._now()
        with self._db.write(SITE) as session:
            on.begin(session)
            row = get_person(session, name)
            change(row)
            if row.disabled:
                end_logins(session, name, now)
            made = view_of_person(session, row, now)
            on.end(session, made)
        self.known.forget()
        return made

    def remove(self, name: str, on: Conditions) -> PersonRemoved:
        """Remove one, with all tokens that are theirs or that they made. Raises as `set_role`."""
        check_name(name)
        with self._db.write(SITE) as session:
            on.begin(session)
            row = get_person(session, name)
            made = PersonRemoved(name, end_tokens(session, name, self._now()))
            session.delete(row)
            on.end(session, made)
        self.known.forget()
        return made

    def make_access(self, wanted: AccessRequest, maker: Principal) -> AccessMade:
        """A token for a program. Raises ContractError: `role-too-low`, `too-large`, `not-found` for the person."""
        with self._db.write(SITE) as session:
            if wanted.person:
                get_person(session, wanted.person)
            row, secret = create_access(
                session, maker, person=wanted.person, role=wanted.role, days=wanted.days, note=wanted.note, login=False,
                now=self._now(),
            )  # fmt: skip
            return AccessMade(row.id, secret, row.role, row.expires_at)

    def log_out(self, who: Principal) -> Me:
        """End the token that somebody showed. Raises ContractError `conflict` for the site's own."""
        if not who.token:
            raise ContractError(
                "conflict", "The site's own token can't be ended: who reads the site's folder has it.",
                hint="Make another: remove secrets/operator-token, then edgelift init on the same folder.",
            )  # fmt: skip
        self.revoke(who.token)
        return Me(who.name, who.role, self._now())

    def access(self) -> list[AccessView]:
        """All tokens of programs, the newest first."""
        with self._db.read() as session:
            return list_access(session, self._now())

    def revoke(self, token: str) -> AccessView:
        """Take a token back. Raises ContractError `not-found`."""
        now = self._now()
        with self._db.write(SITE) as session:
            made = view_of_access(revoke_access(session, token, now), now)
        self.known.forget()
        return made
