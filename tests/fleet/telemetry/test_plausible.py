"""What no board can have measured counts for nothing, and costs nobody else; what an honest board measures always counts."""

import time

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from edgelift_agent.telemetry.compact import join_windows
from edgelift_contract.histogram import Histogram, HistogramData
from edgelift_contract.telemetry import Gauges, Window
from edgelift_fleet import telemetry
from edgelift_fleet.db import ROWS, Database
from edgelift_fleet.rollout.evidence import evidence_of
from edgelift_fleet.telemetry import gauges
from edgelift_fleet.telemetry.doubts import doubted_since
from edgelift_fleet.telemetry.fold import fold
from edgelift_fleet.telemetry.plausible import MOST_PER_S, doubt_gauge, doubt_window
from edgelift_fleet.telemetry.query import Question, latency
from edgelift_fleet.telemetry.retention import Ages, sweep
from tests.fleet.telemetry.conftest import batch, window

pytestmark = pytest.mark.fleet

LATENCIES = st.lists(st.floats(0.5, 1e9), min_size=1, max_size=60)


def of(values: list[float], start: float = 1e9, length_s: float = 60.0, scale: int = 4, errors: int = 0) -> Window:
    made = Histogram(scale)
    made.record_all(values)
    return window(start, length_s=length_s, errors=errors, ok=len(values), latency_us={"total": made.to_data()})


@given(LATENCIES, LATENCIES, st.sampled_from([-4, 0, 4, 10]), st.floats(-1e6, 1e6), st.integers(0, 5))
def test_whatever_a_board_records_is_believed(
    first: list[float], second: list[float], scale: int, length_s: float, errors: int
) -> None:
    one, other = of(first, length_s=length_s, errors=errors, scale=scale), of(second, 1e9 + 60)
    assert doubt_window(one) == ""
    assert doubt_window(join_windows(one, other)) == ""


@given(st.lists(st.floats(-5.0, 0.001), max_size=5))
def test_coarse_clocks_are_believed(values: list[float]) -> None:
    assert doubt_window(of([*values, *[50.0] * (len(values) + 1)])) == ""


def altered(**fields: object) -> Window:
    """A window of 20 requests of 100 to 119 µs, with something else of its histogram."""
    honest = of([100.0 + n for n in range(20)])
    data = honest.latency_us["total"]
    return msgspec.structs.replace(honest, latency_us={"total": msgspec.structs.replace(data, **fields)})


ODD = {
    "more requests than can be": (window(1e9, [], ok=int(60 * MOST_PER_S) + 1), "requests in 60 s"),
    "more than can be in a day": (window(0, [], length_s=2e9, ok=int(86400 * MOST_PER_S) + 1), "in 86400 s"),
    "errors count as well": (window(1e9, [], errors=int(60 * MOST_PER_S) + 1), "requests in 60 s"),
    "more latencies than requests": (msgspec.structs.replace(of([5.0, 6.0]), ok=1), "of 2 requests, and 1 were"),
    "in any phase": (window(1e9, [9.0, 9.0], phases=("infer",), ok=1), "latency of infer"),
    "longer than a day": (of([86_401e6]), "longer than a day"),
    "quicker than anything": (of([0.05, 0.05, 0.05]), "nothing answers so fast"),
    "instantly": (window(1e9, latency_us={"total": HistogramData(zeros=1)}), "nothing answers so fast"),
    "a sum too small": (altered(total=5.0), "a sum, a least or a most"),
    "a sum too large": (altered(total=1e9), "a sum, a least or a most"),
    "a least that isn't there": (altered(low=1.0), "a sum, a least or a most"),
    "a most that isn't there": (altered(high=5e5), "a sum, a least or a most"),
}  # fmt: skip


@pytest.mark.parametrize(("odd", "words"), ODD.values(), ids=list(ODD))
def test_what_no_board_can_measure_is_said(odd: Window, words: str) -> None:
    assert words in doubt_window(odd)


@pytest.mark.parametrize(
    ("name", "value", "believed"),
    [
        ("soc_temp_c", 1e9, False), ("soc_temp_c", -40.0, True), ("gpu_temp_c", 105.0, True), ("cpu_pct", -1.0, False),
        ("cpu_pct", 1600.0, True), ("memory_used_bytes", 2.0**40, True), ("disk_free_bytes", -1.0, False),
        ("throttled", 1.0, True), ("under_voltage", 7.0, False), ("uptime_s", 1e18, False), ("power_w", 60.0, True),
        ("of_my_own", 1e12, True), ("of_my_own", 1e18, False),
    ],
)  # fmt: skip
def test_gauges_lie_within_what_their_unit_allows(name: str, value: float, believed: bool) -> None:
    assert (doubt_gauge(name, value) == "") is believed


def everything(db: Database) -> tuple[object, ...]:
    with db.read() as session:
        fleet = latency(session, Question(), 0, time.time() + 86400)
        other = telemetry.latency_by_version(session, "pi-2")
        return fleet.groups, other, gauges.newest(session).get("pi-2")


@pytest.mark.parametrize("odd", [one for one, _ in ODD.values()], ids=list(ODD))
def test_what_is_set_aside_enters_no_sum_and_costs_its_board_alone(db: Database, odd: Window) -> None:
    now = time.time()
    with db.write(ROWS) as session:
        telemetry.store(
            session, batch("pi-2", {1: window(now - 60), 2: Gauges(start=now, end=now, values={"cpu_pct": 3})})
        )
    before = everything(db)
    with db.write(ROWS) as session:
        items = {1: odd, 2: Gauges(start=now, end=now, values={"soc_temp_c": 1e9, "cpu_pct": 7.0})}
        assert telemetry.store(session, batch("pi-1", items)) == 2
        assert telemetry.store(session, batch("pi-1", items)) == 0  # it came: it need not come again
        fold(session)
    assert everything(db) == before
    with db.read() as session:
        assert evidence_of(session, odd.slot, {"pi-1": (odd.artifact, 0.0)})["pi-1"].requests == 0
        said = telemetry.doubts_of(session, ["pi-1", "pi-2"])
        assert list(said) == ["pi-1"] and said["pi-1"].message.startswith("1 window and 1 gauge of pi-1 can't be")
        assert gauges.newest(session)["pi-1"][1] == {"cpu_pct": 7.0}
        assert (doubted_since(session, now - 1), doubted_since(session, now + 3600)) == ({"pi-1"}, set())


def test_what_was_set_aside_is_told_for_as_long_as_events(db: Database) -> None:
    with db.write(ROWS) as session:
        telemetry.store(session, batch("pi-1", {1: ODD["instantly"][0]}))
        assert sweep(session, Ages(minutes=0, hours=0, notes=1, days=0)) == 0
        assert sweep(session, Ages(minutes=0, hours=0, notes=1, days=0), now=time.time() + 86_401) == 1
        assert telemetry.doubts_of(session, ["pi-1"]) == {}
