"""Probation: errors and slowness swap back, a hot board alone does not."""

import pytest

from edgelift_agent.telemetry.latency import Served
from edgelift_agent.update.probation import judge
from edgelift_contract.assignment import Policy
from edgelift_contract.histogram import Histogram

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
