"""What several servers of a site tell each other of who speaks under a device's id, through the database.

Told is what may change the verdict: a new epoch, and one that spoke after another one did. A fleet without a duplicate
writes one row for each start of an agent.
"""

from __future__ import annotations

import time

import sqlalchemy as sa

from edgelift_fleet.db import ROWS, Database
from edgelift_fleet.sightings import FORGET_AFTER_S, Sightings, Speaker
from edgelift_fleet.tables import SightingRow

#: Servers' clocks may differ so far, and a row is dated before it is committed, seconds.
_BACK_S = 60.0


def exchange(db: Database, sightings: Sightings) -> None:
    """Write what is new here, and learn what the others wrote lately.

    Raises:
        TransportError: `busy`; what was to be told is lost, until it changes again.
    """
    now = time.time()
    news = sightings.take_news()
    if news:
        with db.write(ROWS) as session:
            session.execute(sa.delete(SightingRow).where(SightingRow.written_at < now - FORGET_AFTER_S))
            for device, one in news:
                session.merge(
                    SightingRow(
                        device=device, epoch=one.epoch, address=one.address[:64], via=one.via, last_at=one.last_at,
                        returns=one.returns, sequence=one.sequence, written_at=now,
                    )
                )  # fmt: skip
    with db.read() as session:
        rows = session.scalars(sa.select(SightingRow).where(SightingRow.written_at > now - _BACK_S)).all()
    for row in rows:
        told = Speaker(row.epoch, row.address, row.via, row.last_at, row.returns, row.sequence)
        sightings.learn(row.device, told)
