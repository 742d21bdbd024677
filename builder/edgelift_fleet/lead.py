"""Which of a site's servers acts: one at a time, whatever breaks.

On PostgreSQL the lead is an advisory lock on a connection of its own: it ends with the connection, so with the server.
A server that can't ask over that connection for `_BELIEVED_S` stops acting by itself, without anyone's word. Should it
hang in the middle of a step and wake up after another one took over, its step is still refused: each leader begins a
new *term*, and what a leader writes, it writes only if its term is the newest.

On SQLite the site's lock has let only one server in: it leads as long as it runs.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.errors import EdgeliftError, TransportError
from edgelift_fleet.db import SITE, Database, Scope
from edgelift_fleet.engines import try_lead
from edgelift_fleet.tables import ControlRow

log = logging.getLogger(__name__)

#: How often the leader asks whether it still is, and the others whether they may be, seconds.
_ASK_S = 0.5
#: How long the last answer is believed, seconds: less than PostgreSQL takes to notice that a leader is gone.
_BELIEVED_S = 2.5


class Lead:
    """Does this server lead? A context: it stands for the lead inside the block. Safe to use from several threads."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._term, self._until = 0, 0.0
        self._listeners: list[Callable[[bool], None]] = []
        # One thread tells at a time: a listener hears each change once and in order, whenever it began to listen.
        self._telling, self._told = threading.RLock(), False
        self._stopping, self._decided = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="lead", daemon=True)

    @property
    def leads(self) -> bool:
        """May this server act, now?"""
        return self._term > 0 and time.monotonic() < self._until

    def subscribe(self, listener: Callable[[bool], None]) -> None:
        """Have `listener(leads)` called when this server begins and ceases to lead; at once when it leads already.

        One call at a time and each change once, from whichever thread noticed it.
        """
        with self._telling:
            self._listeners.append(listener)
            if self._told:
                listener(True)

    @contextmanager
    def write(self, scope: Scope) -> Iterator[Session]:
        """As `Database.write`, for what only the leader may do.

        Raises:
            TransportError: `busy` when this server doesn't lead, or another one does by now.
        """
        mine = self._term
        if not self.leads:
            raise TransportError("busy", "Another server of this site leads, or none does yet.")
        with self._db.write(scope) as session:
            if self._db.shared and _term_of(session) != mine:
                raise TransportError("busy", "Another server of this site leads by now.")
            yield session

    def wait(self, timeout_s: float) -> bool:
        """Whether this server leads; waits for so long if it doesn't at first."""
        return self._decided.wait(timeout_s)

    def holder(self) -> str:
        """Who led last, as host and process; empty for nobody."""
        with self._db.read() as session:
            row = session.get(ControlRow, "leader")
            return row.value if row is not None else ""

    def __enter__(self) -> Lead:
        if self._db.shared:
            self._thread.start()
        else:
            self._begin(1, float("inf"))
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        if self._db.shared:
            self._thread.join(5)
        self._cease()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._stand()
            except (EdgeliftError, sa.exc.SQLAlchemyError) as error:
                if self._term:
                    log.warning("the lead is lost: %s", str(error).splitlines()[0])
            except Exception:
                log.exception("a fault while standing for the lead")
            finally:
                self._cease()
            self._stopping.wait(_ASK_S)

    def _stand(self) -> None:
        """Wait for the lead, and hold it for as long as the connection lasts."""
        with self._db.lead_engine() as engine, engine.connect() as connection:
            while not try_lead(connection):
                if self._stopping.wait(_ASK_S):
                    return
            asked = time.monotonic()
            process = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
            self._begin(self._next_term(), asked + _BELIEVED_S)
            log.info("this server leads term=%d", self._term)
            while not self._stopping.wait(_ASK_S):
                asked = time.monotonic()
                if connection.exec_driver_sql("SELECT pg_backend_pid()").scalar() != process:
                    raise TransportError("busy", "A pooler gave the lead's connection away; connect without one.")
                self._until = asked + _BELIEVED_S

    def _next_term(self) -> int:
        with self._db.write(SITE) as session:
            term = _term_of(session) + 1
            session.merge(ControlRow(name="term", value=str(term)))
            session.merge(ControlRow(name="leader", value=f"{socket.gethostname()} (pid {os.getpid()})"))
        return term

    def _begin(self, term: int, until: float) -> None:
        self._term, self._until = term, until
        self._decided.set()
        self._tell(True)

    def _cease(self) -> None:
        if self._term:
            self._term = 0
            self._decided.clear()
            self._tell(False)

    def _tell(self, leads: bool) -> None:
        with self._telling:
            self._told = leads
            for listener in tuple(self._listeners):
                try:
                    listener(leads)
                except EdgeliftError as error:
                    log.warning("not done at a change of the lead code=%s %s", error.code, error.message)


def _term_of(session: Session) -> int:
    row = session.get(ControlRow, "term")
    return int(row.value) if row is not None else 0
