"""Stored histograms: nothing is lost in packing, joining is merging in any order, and quantiles are the contract's."""

from hypothesis import given
from hypothesis import strategies as st

from edgelift_contract.histogram import Histogram, HistogramData, merge_all
from edgelift_contract.telemetry import LatencyPhase
from edgelift_fleet.telemetry.joining import EMPTY, join, join_by, quantiles, quantiles_by
from edgelift_fleet.telemetry.packing import STORED, pack, pack_part, pack_parts, to_data, to_histogram, unpack

VALUES = st.lists(st.floats(0, 1e7), max_size=40)


@st.composite
def histograms(draw: st.DrawFn) -> HistogramData:
    made = Histogram(draw(st.integers(-4, 6)))
    for value in draw(VALUES):
        made.record(value)
    made.total, made.low, made.high = round(made.total, 3), round(min(made.low, made.high), 3), round(made.high, 3)
    if draw(st.booleans()):  # as many as an hour, a day, a year of them
        times = draw(st.sampled_from([300, 70_000, 2**33]))
        data = made.to_data()
        return HistogramData(
            data.scale,
            data.offset,
            [n * times for n in data.counts],
            data.zeros * times,
            data.total,
            data.low,
            data.high,
        )
    return made.to_data()


@given(histograms())
def test_a_histogram_is_the_same_after_packing(data: HistogramData) -> None:
    assert to_data(pack_part(data)) == data
    bodies: dict[LatencyPhase, HistogramData] = {"infer": data, "total": data}
    parts = unpack(pack(bodies))
    assert {phase: to_data(part) for phase, part in parts.items()} == bodies
    assert unpack(pack_parts(parts)) == parts


@given(st.lists(histograms(), max_size=6), st.randoms())
def test_joining_is_merging_in_any_order(datas: list[HistogramData], random) -> None:
    parts = [pack_part(data) for data in datas]
    joined = join(parts)
    expected = merge_all(d for d in datas)
    found = to_histogram(joined)
    assert found.count == expected.count == joined.count
    if expected.count:
        coarsest = min(data.scale for data in datas)
        expected._downscale(min(coarsest, expected.scale))
        assert found.scale == coarsest
        found._downscale(expected.scale)
        assert {i: n for i, n in found._buckets.items() if n} == expected._buckets
        assert (found.low, found.high) == (expected.low, expected.high)
    random.shuffle(parts)
    assert join(parts) == joined
    if len(parts) > 2:
        assert join([join(parts[:2]), join(parts[2:])]) == joined
    assert join([]) == EMPTY


@given(histograms())
def test_quantiles_are_the_contracts(data: HistogramData) -> None:
    whole, found = Histogram.from_data(data), quantiles(pack_part(data))
    assert found.count == whole.count
    assert [found.p50_us, found.p95_us, found.p99_us] == [round(whole.quantile(q), 1) for q in (0.5, 0.95, 0.99)]


def test_a_window_takes_few_bytes() -> None:
    made = Histogram()
    for n in range(60):
        made.record(5000 + 37.77 * n)
    body = pack(dict.fromkeys(STORED, made.to_data()))
    assert len(body) < 5 * 45


@given(st.lists(st.tuples(st.integers(0, 4), histograms()), max_size=12))
def test_groups_are_joined_as_each_by_itself(parts_of: list[tuple[int, HistogramData]]) -> None:
    groups, parts = [group for group, _ in parts_of], [pack_part(data) for _, data in parts_of]
    alone = [join([part for mine, part in zip(groups, parts, strict=True) if mine == group]) for group in range(5)]
    assert join_by(groups, parts, 5) == alone
    assert quantiles_by(groups, parts, 5) == [quantiles(one) for one in alone]
