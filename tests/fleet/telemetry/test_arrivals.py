"""Which items came, as runs: like a set, and bounded."""

from hypothesis import given
from hypothesis import strategies as st

from edgelift_fleet.telemetry.arrivals import Arrivals

SEQS = st.lists(st.integers(0, 60) | st.integers(2**53 - 3, 2**53), max_size=120)


@given(SEQS)
def test_it_is_a_set_whatever_the_order_and_however_often(seqs: list[int]) -> None:
    arrivals, known = Arrivals(), set()
    for seq in seqs:
        assert arrivals.add(seq) is (seq not in known)
        known.add(seq)
        assert all(n in arrivals for n in known)
    assert {n for first, past in arrivals.runs for n in range(first, past)} == known
    assert all(past < first for (_, past), (first, _) in zip(arrivals.runs, arrivals.runs[1:], strict=False))


@given(SEQS)
def test_it_is_the_same_after_writing_and_reading(seqs: list[int]) -> None:
    arrivals = Arrivals()
    arrivals.add_all(seqs)
    assert Arrivals(arrivals.to_bytes()).runs == arrivals.runs
    assert Arrivals().runs == Arrivals(b"").runs == []


@given(st.integers(1, 5), st.lists(st.integers(0, 100), max_size=80))
def test_past_the_bound_the_lowest_gaps_count_as_come(most: int, seqs: list[int]) -> None:
    arrivals = Arrivals(max_runs=most)
    for seq in seqs:
        arrivals.add(seq)
        assert seq in arrivals and len(arrivals.runs) <= most
    if seqs:
        assert max(seqs) in arrivals and max(seqs) + 1 not in arrivals


def test_an_outbox_that_joins_away_every_other_item_is_known_in_a_few_bytes() -> None:
    arrivals = Arrivals()
    assert all(arrivals.add_all(range(0, 1000, 2)))
    assert len(arrivals.to_bytes()) < 1100
    assert not any(arrivals.add_all(range(0, 1000, 2)))
