"""Sends what waits for one receiver, on a thread of its own: one that hangs delays nobody else.

A message is taken before it is sent, for as long as sending it can last, and is gone once the receiver has it; should the
server end in between, it is sent again after that time, with the same id. Only the leader takes.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from edgelift_contract.errors import EdgeliftError
from edgelift_fleet.alerts.answers import MAX_RETRY_AFTER_S, Receipt
from edgelift_fleet.alerts.receivers import Receiver
from edgelift_fleet.db import ROWS, Database
from edgelift_fleet.lead import Lead
from edgelift_fleet.messages.alerts import AlertMessage
from edgelift_fleet.tables import AlertDeliveryRow

log = logging.getLogger(__name__)

#: Waits between tries, seconds: doubled from the first to the longest; so many tries are about a day. By their number and
#: not by the clock, which may jump.
FIRST_S, LONGEST_S, TRIES = 5.0, 900.0, 103
#: How often a server looks for what nobody told it of, seconds.
_LOOK_S = 5.0
_MAX_ERROR = 500


class _Taken(NamedTuple):
    """A message that this server may send now, for the how-many-th time."""

    id: str
    body: str
    tries: int


def delay_s(tries: int, answer: Receipt, jitter: float) -> float:
    """How long to wait after so many tries, seconds: longer each time, never two receivers in step, and as long as was
    asked. Pure; `jitter` is from 0 to 1.
    """
    grown = min(LONGEST_S, FIRST_S * 2.0 ** min(tries - 1, 20))
    return max(grown * (0.75 + jitter / 2), answer.retry_after_s)


class Sender:
    """The thread, as a context.

    Attributes:
        work: set when there may be something to send.
    """

    def __init__(self, receiver: Receiver, db: Database, lead: Lead) -> None:
        self._receiver, self._db, self._lead = receiver, db, lead
        self.work = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"alerts-{receiver.name}", daemon=True)

    def __enter__(self) -> Sender:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.work.set()
        self._thread.join(1)  # who hangs is not waited for: the process ends all the same

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.work.clear()
            try:
                while self._lead.leads and not self._stopping.is_set() and self.send_one(time.time()):
                    pass
            except EdgeliftError as error:
                log.warning("alerts wait receiver=%s code=%s %s", self._receiver.name, error.code, error.message)
            except Exception:
                log.exception("a fault while sending alerts receiver=%s", self._receiver.name)
            self.work.wait(_LOOK_S)

    def send_one(self, now: float) -> bool:
        """Send one message, if one is due at `now`, seconds since 1970; was there one?

        Raises:
            EdgeliftError: the database's.
        """
        taken = self._take(now)
        if taken is None:
            return False
        try:
            message = msgspec.json.decode(taken.body, type=AlertMessage)
        except msgspec.MsgspecError as error:
            self._settle(taken, Receipt(False, f"What was to be sent can't be read: {error}", gone=True), now)
            return True
        self._settle(taken, self._receiver.send(message), now)
        return True

    def _take(self, now: float) -> _Taken | None:
        row = AlertDeliveryRow
        # A send has a few steps, each with its time. Times that lie farther off were written by a clock that has jumped.
        lease_s = 30.0 + 6 * self._receiver.timeout_s
        due = sa.or_(row.next_at <= now, row.next_at > now + 2 * max(LONGEST_S, MAX_RETRY_AFTER_S))
        free = sa.or_(row.taken_until <= now, row.taken_until > now + 2 * lease_s)
        mine = (row.receiver == self._receiver.name, row.given_up_at == 0)
        query = sa.select(row.id, row.body, row.tries, row.taken_until).where(*mine, due, free)
        with self._db.read() as session:
            found = session.execute(query.order_by(row.made_at, row.id).limit(1)).first()
        if found is None:
            return None
        same = (row.receiver == self._receiver.name, row.id == found.id, row.taken_until == found.taken_until)
        with self._lead.write(ROWS) as session:
            result = session.connection().execute(
                sa.update(row).where(*same).values(taken_until=now + lease_s, tries=found.tries + 1)
            )
        return _Taken(found.id, found.body, found.tries + 1) if result.rowcount == 1 else None

    def _settle(self, taken: _Taken, answer: Receipt, now: float) -> None:
        """Write what came of it: whoever leads by now, it is so."""
        row, name = AlertDeliveryRow, self._receiver.name
        this = (row.receiver == name, row.id == taken.id)
        if answer.taken:
            with self._db.write(ROWS) as session:
                session.execute(sa.delete(row).where(*this))
            log.info("an alert was sent receiver=%s id=%s", name, taken.id)
            return
        given_up = answer.gone or taken.tries >= TRIES
        next_at = now + delay_s(taken.tries, answer, random.random())  # noqa: S311 - spreads tries
        values = {"error": answer.said[:_MAX_ERROR], "next_at": next_at, "taken_until": 0.0}
        with self._db.write(ROWS) as session:
            session.execute(
                sa.update(row).where(*this).values({**values, "given_up_at": now if given_up else 0.0})
            )
        level = logging.ERROR if given_up else logging.WARNING
        words = "an alert was given up" if given_up else "an alert was not taken"
        log.log(level, "%s receiver=%s id=%s tries=%d: %s", words, name, taken.id, taken.tries, answer.said)
