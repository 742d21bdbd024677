"""What is remembered of many boards says what summing them one by one says, whatever comes, goes or is tagged anew."""

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

import hypothesis.strategies as st
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy.orm import Session

from edgelift_fleet import telemetry
from edgelift_fleet.caps import KEPT, Cap
from edgelift_fleet.db import ROWS, SITE, Database
from edgelift_fleet.keeping.backup import back_up
from edgelift_fleet.keeping.restore import restore
from edgelift_fleet.mending import Mending
from edgelift_fleet.site import create_site
from edgelift_fleet.tables import (
    TelemetryBucketRow,
    TelemetryCohortRow,
    TelemetryCohortSumRow,
    TelemetryFleetSeriesRow,
)
from edgelift_fleet.telemetry import cohort_sums, cohorts, keeper, reading, series
from edgelift_fleet.telemetry.cohorts import AskedCohorts, digest_of
from edgelift_fleet.telemetry.fold import fold
from edgelift_fleet.telemetry.keeper import Keeper
from edgelift_fleet.telemetry.query import latency
from edgelift_fleet.telemetry.ranges import DAY, HOUR
from edgelift_fleet.telemetry.retention import sweep
from edgelift_fleet.telemetry.trimming import trim
from edgelift_fleet.telemetry.warming import Warming
from tests.fleet.telemetry.asking_tags import (
    AGES,
    CLASSES,
    DAY_S,
    DEVICES,
    MIDNIGHT,
    NOW,
    QUESTIONS,
    answers,
    check,
    number,
    tag,
    told,
    warm,
    warming,
)
from tests.fleet.telemetry.conftest import add_device, batch, make_database, window
from tests.waiting import until

pytestmark = pytest.mark.fleet


@cache
def _empty() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "t.db"
        db = make_database(file, CLASSES)
        tag(db, "north", DEVICES[:4])
        db.close()
        return file.read_bytes()


SOME = st.lists(st.sampled_from(DEVICES), min_size=1, max_size=4, unique=True)


class Remembered(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        file = Path(self.folder.name) / "t.db"
        file.write_bytes(_empty())
        self.db, self.asked, self.seq = Database(file), AskedCohorts(), 0
        self.warming = warming(self.db, self.asked)
        self.tell(DEVICES, 8, True)
        self.ask(DEVICES[:4], 15, 3)
        self.warm()

    def teardown(self) -> None:
        if hasattr(self, "db"):
            self.db.close()
            self.folder.cleanup()

    @rule(devices=SOME, many=st.integers(1, 12), folds=st.booleans())
    def tell(self, devices: list[str], many: int, folds: bool) -> None:
        for device in devices:
            with self.db.write(ROWS) as session:
                items = {self.seq + n: told(self.seq + n, device) for n in range(many)}
                telemetry.store_many(session, [batch(device, items)], received_at=NOW)
            self.seq += many
        if folds:
            self.sum_up(1000)

    @rule(at_most=st.integers(1, 40))
    def sum_up(self, at_most: int) -> None:
        with self.db.write(ROWS) as session:
            fold(session, at_most=at_most)

    @rule(devices=SOME, days=st.integers(1, 20), hours_of=st.integers(0, 12))
    def ask(self, devices: list[str], days: int, hours_of: int) -> None:
        first = {DAY: int(MIDNIGHT - days * DAY_S) * 1000}
        if hours_of:
            first[HOUR] = int(MIDNIGHT - hours_of * DAY_S) * 1000
        self.asked.note(frozenset(devices), first)

    @rule()
    def warm(self) -> None:
        warm(self.warming)

    @rule(times=st.integers(1, 3))
    def warm_some(self, times: int) -> None:
        self.warming.note(NOW)
        for _ in range(times):
            self.warming.make_some(NOW)

    @rule(devices=SOME, value=st.sampled_from(["north", "south", ""]))
    def retag(self, devices: list[str], value: str) -> None:
        tag(self.db, value, devices)

    @rule(device=st.sampled_from(DEVICES), rows=st.integers(1, 40))
    def trim(self, device: str, rows: int) -> None:
        with self.db.write(ROWS) as session:
            trim(session, device, {**KEPT, "sums": Cap(rows, 1 << 20)})

    @rule(later=st.sampled_from([3.0, 9.0, 10.02, 12.0]))
    def forget(self, later: float) -> None:
        with self.db.write(ROWS) as session:
            sweep(session, AGES, now=NOW + later * DAY_S, at_most=20)

    @rule(device=st.sampled_from(DEVICES))
    def mend(self, device: str) -> None:
        with self.db.read() as session:
            key = session.execute(
                sa.select(TelemetryBucketRow.series, TelemetryBucketRow.level, TelemetryBucketRow.start).limit(1)
            ).first()
        if key is not None:
            Mending(self.db, lambda _device: None).mend(device)

    @invariant()
    def it_is_the_sum(self) -> None:
        if hasattr(self, "warming"):
            check(self.db)


Remembered.TestCase.settings = settings(
    max_examples=6, stateful_step_count=8, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
test_remembered_sums = Remembered.TestCase


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[tuple[Database, AskedCohorts]]:
    """Four of six boards have the tag, and what it costs to ask for them is worth it."""
    with closing(made(tmp_path / "t.db")) as db:
        yield db, wanted_of()


@pytest.fixture
def asked_anywhere(database_url: str) -> Iterator[tuple[Database, AskedCohorts]]:
    """The same on each of the two engines."""
    with closing(made(database_url)) as db:
        yield db, wanted_of()


def made(where: Path | str) -> Database:
    db = make_database(where, CLASSES)
    tag(db, "north", DEVICES[:4])
    deliver(db, 0)
    return db


def wanted_of() -> AskedCohorts:
    wanted = AskedCohorts()
    wanted.note(frozenset(DEVICES[:4]), {DAY: int(MIDNIGHT - 15 * DAY_S) * 1000, HOUR: int(MIDNIGHT) * 1000})
    return wanted


def deliver(db: Database, seq: int) -> None:
    with db.write(ROWS) as session:
        items = [(d, {seq + n: told(seq + n, d) for n in range(16)}) for d in DEVICES]
        telemetry.store_many(session, [batch(d, one) for d, one in items], received_at=NOW)
        fold(session)


def test_what_was_asked_for_is_there_the_next_time_and_stays_exact(
    asked_anywhere: tuple[Database, AskedCohorts],
) -> None:
    db, wanted = asked_anywhere
    check(db)
    made = warming(db, wanted)
    assert warm(made) > 0 and number(db) > 15
    check(db)
    deliver(db, 1000)
    check(db)
    assert not made.make_some(NOW)  # nothing was forgotten
    with db.read() as session:
        asked_again = AskedCohorts()
        latency(session, *QUESTIONS[0], asked=asked_again)
        assert asked_again.waits()  # that it was asked for is told
    with db.write(ROWS) as session:
        trim(session, "pi-1", {**KEPT, "sums": Cap(5, 1 << 20)})
    check(db)
    assert made.make_some(NOW)  # what went with the buckets is made again
    warm(made)
    check(db)


def test_a_change_in_between_is_noticed(asked_anywhere: tuple[Database, AskedCohorts]) -> None:
    """A slice that was read before a change of what it sums is not written."""
    db, wanted = asked_anywhere
    made = warming(db, wanted)
    made.note(NOW)
    seen: list[int] = []

    @contextmanager
    def overtaken(scope) -> Iterator[Session]:
        if not seen:
            seen.append(1)
            deliver(db, 2000)
        with db.write(scope) as session:
            yield session

    assert Warming(db.read, overtaken, db.write, AGES, wanted).make_some(NOW)
    assert seen and number(db) == 0
    warm(made)
    check(db)


def test_a_few_new_boards_are_added_to_what_is_known(asked: tuple[Database, AskedCohorts]) -> None:
    db, wanted = asked
    warm(warming(db, wanted))
    with db.write(SITE) as session:
        add_device(session, "pi-9")
    tag(db, "north", ["pi-4", "pi-9"])
    check(db)
    with db.read() as session:
        known = cohorts.known_cohorts(session)
        assert cohorts.best_for(frozenset([*DEVICES[:5], "pi-9"]), known) == known[0]
        assert cohorts.best_for(frozenset(DEVICES[:3]), known) is None
    # A cohort that takes another one in is made of its sums.
    wanted.note(frozenset(DEVICES[:5]), {DAY: int(MIDNIGHT - 15 * DAY_S) * 1000})
    warm(warming(db, wanted))
    check(db)


def test_series_under_another_name_are_found_by_their_own(
    asked: tuple[Database, AskedCohorts], monkeypatch: pytest.MonkeyPatch
) -> None:
    db, wanted = asked
    monkeypatch.setattr(series, "MAX_UNPUBLISHED", 2)
    deliver(db, 3000)
    with db.write(ROWS) as session:
        items = {
            5000 + n: window(NOW - 60, model="odd", artifact=f"{n:064}", version="2") for n in range(100, 110)
        }
        telemetry.store(session, batch("pi-0", items))
        fold(session)
        others = session.scalars(sa.select(TelemetryFleetSeriesRow).filter_by(model=series.OTHER)).all()
    assert others
    warm(warming(db, wanted))
    check(db)


def test_too_many_at_once_are_forgotten_and_not_wrong(
    asked: tuple[Database, AskedCohorts], monkeypatch: pytest.MonkeyPatch
) -> None:
    db, wanted = asked
    warm(warming(db, wanted))
    before = number(db)
    monkeypatch.setattr(cohort_sums, "MAX_ADDED", 1)
    deliver(db, 4000)
    assert 0 < number(db) < before
    check(db)


@pytest.mark.parametrize("damaged", ["sum", "members"])
def test_a_sum_that_the_disk_damaged_costs_itself(asked: tuple[Database, AskedCohorts], damaged: str) -> None:
    db, wanted = asked
    warm(warming(db, wanted))
    with db.write(ROWS) as session:
        if damaged == "sum":
            session.execute(sa.update(TelemetryCohortSumRow).values(body=b"\xc1odd"))
        else:
            session.execute(sa.update(TelemetryCohortRow).values(members=b"pi-5"))
    cohorts._MEMBERS.clear()  # as another process reads it
    check(db)
    deliver(db, 6000)
    check(db)
    again = AskedCohorts()
    again.note(frozenset(DEVICES[:4]), {DAY: int(MIDNIGHT - 15 * DAY_S) * 1000})
    warm(warming(db, again))
    check(db)


def test_those_that_nobody_asks_for_are_let_go(
    asked: tuple[Database, AskedCohorts], monkeypatch: pytest.MonkeyPatch
) -> None:
    db, wanted = asked
    made = warming(db, wanted)
    warm(made)
    for n in range(cohorts.MAX_COHORTS):
        wanted.note(frozenset([f"other-{n}"]), {DAY: int(MIDNIGHT) * 1000})
        made.note(NOW + 1 + n)
    warm(made, NOW + 20)
    with db.read() as session:
        digests = set(session.scalars(sa.select(TelemetryCohortRow.digest)))
    assert len(digests) == cohorts.MAX_COHORTS and digest_of(DEVICES[:4]) not in digests
    check(db)
    warm(made, NOW + cohorts.KEPT_S + 100)
    assert number(db) == number(db, TelemetryCohortRow) == 0


def test_the_keepers_thread_makes_what_was_asked_for(
    asked: tuple[Database, AskedCohorts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a question tells it, once it is worth it."""
    db, _ = asked
    wanted = AskedCohorts()
    monkeypatch.setattr(keeper, "LOOK_EVERY_S", 0.02)
    with Keeper(db.read, db.write, AGES, warming=warming(db, wanted)):
        with db.read() as session:
            latency(session, *QUESTIONS[0], asked=wanted)
        assert not wanted.waits()  # so few are read in no time
        monkeypatch.setattr(reading, "WORTH", 1)
        with db.read() as session:
            latency(session, *QUESTIONS[0], asked=wanted)

        def ready() -> bool:
            with db.read() as session:
                return any(one.ready_at for one in cohorts.known_cohorts(session))

        until(ready)
    assert number(db) > 3
    check(db)


def test_asking_writes_nothing_each_time() -> None:
    wanted, first = AskedCohorts(), {DAY: 1000}
    with tempfile.TemporaryDirectory() as folder, closing(make_database(Path(folder) / "t.db", {})) as db:
        made = warming(db, wanted)
        wanted.note(frozenset("ab"), first)
        assert made.note(NOW) and not made.note(NOW)
        wanted.note(frozenset("ab"), {DAY: 2000})
        assert not wanted.waits()
        wanted.note(frozenset("ab"), {DAY: 500})
        assert wanted.waits()


def test_a_backup_has_none_of_it_and_the_answers_are_the_same(tmp_path: Path) -> None:
    site, _ = create_site(tmp_path / "site")
    with closing(make_database(site.database, CLASSES)) as db:
        tag(db, "north", DEVICES[:4])
        deliver(db, 0)
        wanted = AskedCohorts()
        wanted.note(frozenset(DEVICES[:4]), {DAY: int(MIDNIGHT - 15 * DAY_S) * 1000})
        warm(warming(db, wanted))
        assert number(db)
        with db.read() as session:
            before = answers(session)
        back_up(site, db, tmp_path / "b")
    restored = restore(tmp_path / "b", tmp_path / "again")
    assert restored
    with closing(Database(tmp_path / "again" / "edgelift.db")) as db, db.read() as session:
        assert number(db) == number(db, TelemetryCohortRow) == 0
        assert answers(session) == before
