"""What every device should run, in memory: a poll whose device knows the newest revision touches no database.

The tables stay the truth. A change is announced once it is committed; from that moment on what is held here of its
device is not used any more, and one thread reads all announced devices together and tells who waits for them. Other
processes on the same database announce nothing here: what they wrote is found by the time at which it was issued.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple

import sqlalchemy as sa

from edgelift_contract import codec
from edgelift_contract.errors import EdgeliftError
from edgelift_fleet.db import Database
from edgelift_fleet.devices import get_device
from edgelift_fleet.tables import AssignmentRow, DeviceRow

log = logging.getLogger(__name__)

#: How often another process's assignments are looked for, seconds.
LOOK_EVERY_S = 0.5
#: An assignment is stamped before it is committed, by a clock that may be another host's: so far back is looked, seconds.
LOOK_BACK_S = 30.0
#: Devices that one statement asks for; SQLite takes some thousand parameters.
_AT_ONCE = 500

_AFTER = AssignmentRow.issued_at > sa.bindparam("since", type_=sa.Double())
_RECENT = sa.select(AssignmentRow.device, AssignmentRow.revision, AssignmentRow.issued_at).where(_AFTER)
#: After a rollout to thousands the recent ones are all of them, for as long as nothing is assigned: rows are read only
#: where anything moved. Whatever is assigned is stamped anew, so that the sum tells, even by a clock that is behind.
_MOVED = sa.select(
    sa.func.count(), sa.func.sum(AssignmentRow.issued_at - sa.bindparam("since", type_=sa.Double()))
).where(_AFTER)


class Latest(NamedTuple):
    """A device's newest assignment.

    Attributes:
        revision: its number; 0 while nothing is assigned.
        etag: the number in quotes.
        digest: SHA-256 of the body, in hex.
        body: the assignment in canonical JSON; empty while nothing is assigned.
    """

    revision: int
    etag: str
    digest: str
    body: bytes


UNASSIGNED = Latest(0, "", "", b"")

Told = Callable[[Mapping[str, Latest]], None]


class Revisions:
    """Device → its `Latest`. A context: loaded at its beginning and kept up to date inside the block."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._lock = threading.Lock()
        self._held: dict[str, Latest] = {}
        self._announced: dict[str, None] = {}
        self._announcements = 0
        self._newest_at = 0.0
        self._recent: tuple[object, ...] = ()
        self._listeners: list[Told] = []
        self._wake, self._stopping = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="revisions", daemon=True)

    def __enter__(self) -> Revisions:
        with self._db.read() as session:
            rows = session.execute(sa.select(AssignmentRow.device, AssignmentRow.revision, AssignmentRow.body))
            for device, revision, body in rows:
                self._held[device] = _latest(revision, body)
            for device in session.scalars(sa.select(DeviceRow.id)):
                self._held.setdefault(device, UNASSIGNED)
            self._newest_at = session.scalar(sa.select(sa.func.max(AssignmentRow.issued_at))) or 0.0
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._wake.set()
        self._thread.join(3)

    def subscribe(self, listener: Told) -> None:
        """Have `listener({device: latest})` called with what changed, from the thread here; it must not block."""
        self._listeners.append(listener)

    def announce(self, device: str) -> None:
        """The device's assignment changed and is committed. From any thread; returns at once."""
        with self._lock:
            self._held.pop(device, None)
            self._announced[device] = None
            self._announcements += 1
        self._wake.set()

    def held(self, device: str) -> Latest | None:
        """What is known without a look into the database; None when it must be asked. From any thread."""
        return self._held.get(device)

    def ask(self, device: str) -> Latest:
        """Look into the database.

        Raises:
            ContractError: `bad-id`, or `not-found` for a device that never enrolled.
        """
        before = self._announcements
        with self._db.read() as session:
            row = session.get(AssignmentRow, device)
            if row is None:
                get_device(session, device)  # "not yet assigned" and "never enrolled" are different answers
            found = _latest(row.revision, row.body) if row is not None else UNASSIGNED
        with self._lock:
            if before == self._announcements:  # else it may be older than what was announced meanwhile
                self._held[device] = found
        return found

    def all(self) -> Mapping[str, Latest]:
        """Device → what stands for it, for all that are held; a copy."""
        with self._lock:
            return dict(self._held)

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(LOOK_EVERY_S)
            self._wake.clear()
            try:
                self._look_for_others()
                self._take_in()
            except EdgeliftError as error:
                log.warning("the assignments were not read code=%s %s", error.code, error.message)
                self._wake.wait(LOOK_EVERY_S)
            except Exception:
                log.exception("a fault while reading assignments")
                self._wake.wait(LOOK_EVERY_S)

    def _take_in(self) -> None:
        with self._lock:
            wanted, self._announced = self._announced, {}
        if not wanted:
            return
        try:
            found = self._read(list(wanted))
        except BaseException:
            with self._lock:
                self._announced = {**wanted, **self._announced}
            raise
        with self._lock:
            current = {device: one for device, one in found.items() if device not in self._announced}
            self._held.update(current)
        for listener in self._listeners:
            listener(current)

    def _read(self, devices: list[str]) -> dict[str, Latest]:
        found: dict[str, Latest] = {}
        with self._db.read() as session:
            for first in range(0, len(devices), _AT_ONCE):
                some = devices[first : first + _AT_ONCE]
                rows = session.execute(
                    sa.select(AssignmentRow.device, AssignmentRow.revision, AssignmentRow.body).where(
                        AssignmentRow.device.in_(some)
                    )
                )
                found |= {device: _latest(revision, body) for device, revision, body in rows}
        return found

    def _look_for_others(self) -> None:
        since = self._newest_at - LOOK_BACK_S
        with self._db.read() as session:
            number, total = session.execute(_MOVED, {"since": since}).one()
            recent = (since, number, round(total or 0.0, 6))
            if recent == self._recent:
                return
            for device, revision, at in session.execute(_RECENT, {"since": since}):
                self._newest_at = max(self._newest_at, at)
                known = self._held.get(device)
                if known is None or known.revision != revision:
                    self.announce(device)
        self._recent = recent


def _latest(revision: int, body: str) -> Latest:
    data = body.encode()
    return Latest(revision, f'"{revision}"', codec.digest(data), data)
