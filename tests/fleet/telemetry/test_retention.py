"""What is kept how long: minutes, hours, days, swaps and events by when they were received; sampled devices longer."""

import time

import pytest
import sqlalchemy as sa

from edgelift_contract.errors import ContractError
from edgelift_contract.telemetry import Batch, DeviceEvent, Gauges
from edgelift_fleet import telemetry
from edgelift_fleet.db import ROWS, Database
from edgelift_fleet.tables import TelemetryGaugeRow, TelemetryMinuteRow, TelemetrySeriesRow, table_of
from edgelift_fleet.telemetry import gauges, samples, series
from edgelift_fleet.telemetry.fold import fold
from edgelift_fleet.telemetry.query import Question, latency, served_by_device
from edgelift_fleet.telemetry.retention import Ages, sweep
from tests.fleet.telemetry.conftest import batch, today, window

pytestmark = pytest.mark.fleet

DAY_S = 86400.0
START = today()
AGES = Ages(minutes=2, hours=10, notes=5, days=20)


def deliver(db: Database, *batches: Batch, at: float) -> list[int | ContractError]:
    with db.write(ROWS) as session:
        return telemetry.store_many(session, batches, received_at=at)


def keep(db: Database, at: float) -> None:
    """What the keeper does, at a time."""
    for step in (lambda s: fold(s), lambda s: sweep(s, AGES, now=at)):
        while True:
            with db.write(ROWS) as session:
                if not step(session):
                    break


def number(db: Database, table: type) -> int:
    with db.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(table_of(table))) or 0


def day_of(device: str) -> Batch:
    items: dict[int, object] = {n: window(START + 600 * n, [100.0 + n]) for n in range(24)}
    items |= {
        100 + n: Gauges(start=START + 600 * n, end=START + 600 * n + 60, values={"x": float(n)}) for n in range(24)
    }
    return batch(device, items | {999: DeviceEvent(at=START, kind="agent-started")})


def test_each_kind_goes_at_its_age_and_the_sums_stay(db: Database) -> None:
    deliver(db, day_of("pi-1"), at=START)
    seen = []
    for days in (1.0, 3.0, 6.0, 11.0, 21.0):
        keep(db, START + days * DAY_S)
        with db.read() as session:
            found = latency(session, Question(device="pi-1"), START, START + DAY_S, minutes_from=START + DAY_S)
            temperatures = gauges.steps(session, "pi-1", START, START + DAY_S, DAY_S)
            events = len(telemetry.events(session, "pi-1"))
        windows = sum(group.windows for group in found.groups)
        mean = temperatures[0].values["x"] if temperatures else None
        seen.append(
            (days, number(db, TelemetryMinuteRow), windows, events, mean and (mean.min, mean.mean, mean.max))
        )
    everything = (0.0, 11.5, 23.0)
    assert seen == [
        (1.0, 24, 24, 1, everything), (3.0, 0, 24, 1, everything), (6.0, 0, 24, 0, everything),
        (11.0, 0, 24, 0, everything), (21.0, 0, 0, 0, None),
    ]  # fmt: skip
    assert deliver(db, day_of("pi-1"), at=START + 21 * DAY_S) == [0]  # forgotten, and still known to have come


def test_zero_keeps_it_for_ever(db: Database) -> None:
    deliver(db, day_of("pi-1"), at=START)
    with db.write(ROWS) as session:
        assert sweep(session, Ages(0, 0, 0, 0), now=START + 1e9) == 0
    assert number(db, TelemetryMinuteRow) == 24 and number(db, TelemetryGaugeRow) == 24


def test_a_sampled_device_keeps_its_minutes(db: Database) -> None:
    with db.write(ROWS) as session:
        samples.sample(session, "pi-1", 7200, now=START)
    deliver(db, day_of("pi-1"), day_of("pi-2"), at=START + 60)
    deliver(db, batch("pi-1", {2000: window(START)}), at=START + 7300)  # after the time that was asked for
    keep(db, START + 5 * DAY_S)
    assert number(db, TelemetryMinuteRow) == 24
    with db.read() as session:
        (one,) = set(
            session.scalars(
                sa.select(TelemetrySeriesRow.device).join(
                    TelemetryMinuteRow, TelemetryMinuteRow.series == TelemetrySeriesRow.id
                )
            )
        )
    assert one == "pi-1"
    keep(db, START + 21 * DAY_S)
    assert number(db, TelemetryMinuteRow) == 0


@pytest.mark.parametrize("for_s", [0, -1, 31 * DAY_S, float("nan")])
def test_a_time_to_sample_that_is_none(db: Database, for_s: float) -> None:
    with db.write(ROWS) as session, pytest.raises(ContractError) as refused:
        samples.sample(session, "pi-1", for_s)
    assert refused.value.code == "malformed"


def test_a_clock_that_cannot_be_right_files_under_when_it_came(db: Database) -> None:
    now = time.time()
    deliver(
        db, batch("pi-1", {1: window(60.0), 2: window(now + 1e6), 3: window(now - 60), 4: window(-1e300)}), at=now
    )
    with db.read() as session:
        (group,) = latency(session, Question(), now - 3600, now + 3600).groups
    assert group.windows == 4 and group.start > now - 61


def test_what_a_device_names_makes_no_end_of_series(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "MAX_PER_DEVICE", 5)
    monkeypatch.setattr(series, "MAX_UNPUBLISHED", 3)
    now = time.time()
    items: dict[int, object] = {n: window(now - 60, artifact=f"{n:064d}") for n in range(20)}
    assert deliver(db, batch("pi-1", items), batch("pc-1", items), at=now) == [20, 20]
    with db.read() as session:
        found = latency(session, Question(), now - 3600, now + 1).groups
        assert sum(group.windows for group in found) == 40
        assert len(found) <= 3 + 2 and {g.model for g in found} == {"digits", series.OTHER}
        assert number(db, TelemetrySeriesRow) <= 2 * 6


def test_a_body_that_the_disk_damaged_costs_itself(db: Database) -> None:
    deliver(db, batch("pi-1", {1: window(START, [100.0]), 2: window(START + 60, [300.0])}), at=START)
    with db.write(ROWS) as session:
        session.execute(
            sa.update(TelemetryMinuteRow).where(TelemetryMinuteRow.seq == 1).values(body=b"\xc1damaged")
        )
    for _ in range(2):
        with db.read() as session:
            (group,) = latency(session, Question(), START, START + DAY_S).groups
            assert (group.windows, group.phases["total"].count) == (2, 1)
        with db.write(ROWS) as session:
            fold(session)


def test_an_unknown_device_among_others(db: Database) -> None:
    first, unknown, last = deliver(db, day_of("pi-1"), day_of("nobody"), day_of("pi-2"), at=START)
    assert (first, last) == (49, 49)
    assert isinstance(unknown, ContractError) and unknown.code == "not-found"


def test_each_devices_own_for_many_at_once(db: Database) -> None:
    items: dict[int, object] = {
        n: window(START + 60 * n, [100.0], throttled=n % 2 == 1, errors=2) for n in range(120)
    }
    deliver(db, batch("pi-1", items), batch("pi-2", {1: window(START, [900.0], version="2")}), at=START + 8000)
    for _ in range(2):
        with db.read() as session:
            found = served_by_device(
                session, "digits", ["pi-1", "pi-2", "pc-1"], start=START + 60, end=START + 5400
            )
            alone = served_by_device(
                session, "digits", ["pi-1", "pi-2"], start=START, end=START + 60, artifact="2" * 64
            )
        assert {
            d: {t: (s.ok, s.errors, s.latency.count) for t, s in states.items()} for d, states in found.items()
        } == {
            "pi-1": {False: (44, 88, 44), True: (45, 90, 45)},
        }
        assert set(alone) == {"pi-2"}
        with db.write(ROWS) as session:
            fold(session)


def test_no_length_of_a_window_reaches_beyond_two_days(db: Database) -> None:
    now = time.time()
    deliver(db, batch("pi-1", {1: window(now - 60, length_s=1e8)}), at=now)
    with db.read() as session:
        (group,) = latency(session, Question(), now - 3600, now + 1).groups
    assert group.end - group.start <= 2 * DAY_S
