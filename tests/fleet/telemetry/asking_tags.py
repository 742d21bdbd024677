"""Questions about a tag's boards, boards that have it, and the answers with and without what is remembered."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.db import SITE, Database
from edgelift_fleet.messages import LatencyReply
from edgelift_fleet.tables import (
    TagRow,
    TelemetryCohortRow,
    TelemetryCohortSumRow,
    table_of,
)
from edgelift_fleet.telemetry.cohorts import AskedCohorts
from edgelift_fleet.telemetry.query import Question, latency
from edgelift_fleet.telemetry.retention import Ages
from edgelift_fleet.telemetry.warming import Warming
from tests.fleet.telemetry.conftest import window

DAY_S = 86400
NOW = time.time()
MIDNIGHT = NOW // DAY_S * DAY_S
DEVICES = [f"pi-{n}" for n in range(6)]
CLASSES = dict(zip(DEVICES, ["arm64-neon", "arm64-neon", "x86-64-avx2"] * 2, strict=True))
AGES = Ages(minutes=2, hours=10, notes=5, days=20)
#: All that is asked of a tag in these tests: any time, hours and days, by names, and in steps.
QUESTIONS = [
    (Question(tag="barn"), MIDNIGHT - 3 * DAY_S + 7200, NOW),
    (Question(tag="barn=north", step_s=DAY_S), MIDNIGHT - 9 * DAY_S, NOW),
    (Question(tag="barn", version="2"), 0, NOW + DAY_S),
    (Question(tag="barn", model="odd"), MIDNIGHT - 20 * DAY_S, NOW),
    (Question(tag="barn", hardware_class="arm64-neon", step_s=7200.0), MIDNIGHT - DAY_S, NOW),
]


class _Undo(Exception):
    pass


@contextmanager
def undone(db: Database) -> Iterator[Session]:
    """A write transaction of which nothing stays."""
    try:
        with db.write(SITE) as session:
            yield session
            raise _Undo
    except _Undo:
        pass


def answers(session: Session) -> list[LatencyReply]:
    return [latency(session, *question) for question in QUESTIONS]


def check(db: Database) -> None:
    """With what is remembered, and without it."""
    with undone(db) as session:
        found = answers(session)
        session.execute(sa.delete(table_of(TelemetryCohortSumRow)))
        session.execute(sa.delete(table_of(TelemetryCohortRow)))
        assert found == answers(session)


def number(db: Database, table: type = TelemetryCohortSumRow) -> int:
    with db.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(table_of(table))) or 0


def warming(db: Database, asked: AskedCohorts) -> Warming:
    return Warming(db.read, db.write, db.write, AGES, asked)


def warm(made: Warming, now: float = NOW) -> int:
    made.note(now)
    times = 0
    while made.make_some(now):
        times += 1
        assert times < 100
    return times


def tag(db: Database, value: str, devices: list[str]) -> None:
    with db.write(SITE) as session:
        session.execute(sa.delete(table_of(TagRow)).where(TagRow.device.in_(devices)))
        if value:
            session.execute(
                sa.insert(table_of(TagRow)),
                [{"device": d, "key": "barn", "value": value, "source": "operator"} for d in devices],
            )


def told(seq: int, device: str) -> object:
    n = (seq * 7919 + len(device) * 31 + ord(device[-1])) % 1000
    at = NOW - 600 * (n % 40) if n % 3 else NOW - 3600.0 * (n % 300)
    return window(
        at, [100.0 + n, 5000.0 + 3 * n, 0.0], version=str(1 + n % 2), throttled=n % 5 == 0, probation=n % 11 == 0,
        phases=("total", "infer") if n % 2 else ("total",), model="odd" if n % 13 == 0 else "digits",
        artifact=f"{n % 13:064}", errors=n % 4,
    )  # fmt: skip
