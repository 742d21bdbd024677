"""Which buckets answer: every moment is in exactly one, and never a moment outside."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edgelift_fleet.telemetry.ranges import DAY, HOUR, LENGTH_MS, MINUTE, outwards, pieces

AT = st.integers(0, 40 * 24 * 60).map(lambda minute: minute * 60_000)


@given(AT, AT, st.sampled_from([MINUTE, HOUR, DAY]), st.sampled_from([MINUTE, HOUR, DAY]))
def test_pieces_make_up_the_stretch(start: int, stop: int, finest: int, coarsest: int) -> None:
    found = pieces(start, stop, finest=finest, coarsest=coarsest)
    start, stop = outwards(start, stop, finest)
    if start >= stop:
        assert found == []
        return
    assert (found[0].start, found[-1].stop) == (start, stop)
    for before, after in pairwise(found):
        assert before.stop == after.start
    for piece in found:
        assert piece.start < piece.stop
        assert finest <= piece.level <= max(coarsest, finest)
        if piece.level:
            assert piece.start % LENGTH_MS[piece.level] == piece.stop % LENGTH_MS[piece.level] == 0


def test_thirty_days_are_answered_by_days_but_for_the_edges() -> None:
    day = LENGTH_MS[DAY]
    start, stop = 100 * day + 61 * 60_000, 130 * day + 5 * LENGTH_MS[HOUR] + 60_000
    assert [piece.level for piece in pieces(start, stop)] == [MINUTE, HOUR, DAY, HOUR, MINUTE]
    assert [piece.level for piece in pieces(start, stop, finest=HOUR)] == [HOUR, DAY, HOUR]
