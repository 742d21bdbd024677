"""Logging in: a name and a password for a token that holds for a while. Slow to guess, and no burden to the rest.

Passwords are judged on two threads of their own: each takes 32 MB and all of a core for a moment.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from starlette.concurrency import run_in_threadpool

from edgelift_contract.errors import EdgeliftError, TransportError
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.messages.people import LoggedIn, LoginRequest
from edgelift_fleet.people.access import create_access
from edgelift_fleet.people.audit import DONE, Audit, Deed, append
from edgelift_fleet.people.passwords import check_password, digest_password
from edgelift_fleet.people.roles import Principal
from edgelift_fleet.people.tries import Tries, too_many
from edgelift_fleet.tables import PersonRow

log = logging.getLogger(__name__)

#: Passwords that are judged at once, and that wait for it.
AT_ONCE, MAX_WAITING = 2, 32


class Logins:
    """Lets people in by their passwords. `enter` and `judge` are for the event loop, all else for any thread."""

    def __init__(self, db: Database, audit: Audit, now: Callable[[], float] = time.time) -> None:
        self._db, self._audit, self._now = db, audit, now
        self._tries = Tries()
        self._waiting = 0
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    async def enter(self, asked: LoginRequest, deed: Deed) -> LoggedIn:
        """Log somebody in.

        Args:
            asked: by what.
            deed: as it is logged, but for who.

        Raises:
            TransportError: `not-authorised` for a wrong password as for a name that nobody has; `too-many-tries`;
                `busy`: the database's.
        """
        person, right = await self.judge(asked.name, asked.password, deed.address)
        if person is None or not right:
            await run_in_threadpool(self._refused, deed, "" if person is None else person.name)
            raise TransportError("not-authorised", "The name or the password is wrong.")
        return await run_in_threadpool(self._make, person, asked.hours, deed)

    async def judge(self, name: str, password: str, address: str) -> tuple[PersonRow | None, bool]:
        """Who is called so, and is it their password? Never right of who is shut out.

        Raises:
            TransportError: `too-many-tries`, by name and by address; `busy`: the database's.
        """
        self._tries.begin(name, address, self._now())
        if self._waiting >= MAX_WAITING:
            raise too_many(1.0)
        self._waiting += 1
        try:
            person = await run_in_threadpool(self._find, name)
            digest = "" if person is None else person.password
            loop = asyncio.get_running_loop()
            right = await loop.run_in_executor(self._threads(), check_password, password, digest)
        finally:
            self._waiting -= 1
        right = right and person is not None and not person.disabled
        if right:
            self._tries.succeeded(name, address)
        return person, right

    def digest(self, password: str) -> str:
        """As `digest_password`, in its turn. Not for the event loop, which it would stop."""
        return self._threads().submit(digest_password, password).result()

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="passwords")
            return self._pool

    def _find(self, name: str) -> PersonRow | None:
        if "\0" in name:  # PostgreSQL knows no such text
            return None
        with self._db.read() as session:
            return session.get(PersonRow, name)

    def _refused(self, deed: Deed, name: str) -> None:
        try:
            self._audit.refuse_login(deed, name, "not-authorised")
        except EdgeliftError as error:  # what is told is that the password was wrong
            log.warning("a failed login was not logged code=%s %s", error.code, error.message)

    def _make(self, judged: PersonRow, hours: float, deed: Deed) -> LoggedIn:
        """The token and its entry, or neither; not for a password that was changed while it was judged."""
        now, name = self._now(), judged.name
        with self._db.write(SITE) as session:
            person = session.get(PersonRow, name)
            if person is None or person.disabled or person.password != judged.password:
                raise TransportError("not-authorised", "The name or the password is wrong.")
            who = Principal(name, person.role, "login")
            row, secret = create_access(
                session, who, person=name, role=person.role, days=hours / 24, note="", login=True, now=now
            )
            append(session, replace(deed, who=who), DONE, now)
            return LoggedIn(secret, name, row.role, row.expires_at)
