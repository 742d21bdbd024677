"""Probation: errors and slowness swap back, a hot board alone does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelift_contract.assignment import Policy
from edgelift_contract.histogram import Histogram
from edgelift_contract.probation import Served, judge
from edgelift_contract.rules import MIN_COMPARED

POLICY = Policy(probation_s=60, probation_min_requests=20, max_error_rate=0.02, max_latency_ratio=2.0)


def served(ok: int, errors: int = 0, median_us: float = 1000.0, *, throttled: bool = False) -> Served:
    histogram = Histogram()
    for _ in range(ok):
        histogram.record(median_us)
    return Served(ok, errors, {throttled: histogram} if ok else {})


def test_waits_while_nothing_is_wrong_and_passes_when_the_time_is_over() -> None:
    assert judge(served(10), served(100), POLICY, 59).kind == "wait"
    assert judge(served(10), served(100), POLICY, 60).kind == "pass"


def test_passes_without_any_traffic() -> None:
    assert judge(served(0), None, POLICY, 60).kind == "pass"


def test_many_errors_fail_at_once() -> None:
    verdict = judge(served(10, errors=10), served(100), POLICY, 1)
    assert (verdict.kind, verdict.code) == ("fail", "probation-errors")


def test_one_early_error_may_still_even_out_but_not_at_the_end() -> None:
    policy = Policy(probation_s=60, probation_min_requests=100, max_error_rate=0.02)
    assert judge(served(1, errors=1), None, policy, 1).kind == "wait"
    assert judge(served(1, errors=1), None, policy, 60).kind == "fail"


def test_a_slower_median_fails_and_names_the_figures() -> None:
    verdict = judge(served(50, median_us=2500), served(50, median_us=1000), POLICY, 5)
    assert (verdict.kind, verdict.code) == ("fail", "probation-latency")
    assert "2.5" in verdict.message


def test_slowness_is_compared_only_within_one_throttle_state() -> None:
    assert judge(served(50, median_us=9000, throttled=True), served(50), POLICY, 5).kind == "wait"


@pytest.mark.parametrize("requests", [0, 5, 19])
def test_too_few_requests_say_nothing_about_latency(requests: int) -> None:
    assert judge(served(requests, median_us=9000), served(50), POLICY, 5).kind == "wait"


def test_the_latency_check_can_be_switched_off() -> None:
    policy = Policy(probation_s=60, max_latency_ratio=0)
    assert judge(served(50, median_us=9000), served(50), policy, 5).kind == "wait"


def test_a_model_whose_predecessor_failed_as_often_is_not_rolled_back_for_it() -> None:
    old = Served(ok=950, errors=50)
    for errors in (1, 3, 5, 8):
        assert judge(Served(100 - errors, errors), old, POLICY, 60).kind == "pass"
    verdict = judge(Served(70, 30), old, POLICY, 60)
    assert (verdict.kind, verdict.code) == ("fail", "probation-errors")
    assert "50 of 1000 did before" in verdict.message


@pytest.mark.parametrize("old", [None, Served(), Served(ok=1000), Served(ok=0, errors=MIN_COMPARED - 1)])
def test_a_predecessor_that_never_failed_or_hardly_served_excuses_nothing(old: Served | None) -> None:
    assert judge(Served(95, 5), old, POLICY, 60).kind == "fail"


COUNTS = st.tuples(st.integers(0, 2000), st.integers(0, 2000)).map(lambda pair: Served(ok=pair[0], errors=pair[1]))
TIMES = st.sampled_from([1.0, 60.0])


@given(COUNTS, COUNTS, TIMES)
def test_equal_shares_of_errors_never_fail(new: Served, old: Served, elapsed_s: float) -> None:
    same = Served(ok=old.ok, errors=old.errors)
    if old.requests >= MIN_COMPARED:
        assert judge(same, old, POLICY, elapsed_s).kind != "fail"


@given(COUNTS, COUNTS, TIMES, st.integers(1, 50))
def test_fewer_errors_never_make_a_verdict_worse(new: Served, old: Served, elapsed_s: float, fewer: int) -> None:
    fewer = min(fewer, new.errors)
    better = Served(ok=new.ok + fewer, errors=new.errors - fewer)
    if judge(new, old, POLICY, elapsed_s).kind != "fail":
        assert judge(better, old, POLICY, elapsed_s).kind != "fail"


@given(COUNTS, COUNTS, TIMES)
def test_a_predecessor_only_ever_excuses(new: Served, old: Served, elapsed_s: float) -> None:
    if judge(new, None, POLICY, elapsed_s).kind != "fail":
        assert judge(new, old, POLICY, elapsed_s).kind != "fail"


@given(COUNTS, TIMES)
def test_nobody_is_excused_from_failing_twice_as_often_on_many_requests(new: Served, elapsed_s: float) -> None:
    old = Served(ok=9000, errors=1000)
    if new.requests >= 500 and new.errors >= 0.2 * new.requests:
        assert judge(new, old, POLICY, elapsed_s).kind == "fail"
