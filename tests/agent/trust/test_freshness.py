"""When a fresh signature is asked for, and when it is told that none comes: by clocks that are right, stand, or jump."""

import pytest

from edgelift_agent.trust.freshness import AGAIN_S, DAY_S, SOON_S, STALE_S, Freshness

NOW = 1.8e9


class Clock:
    """A wall clock, and the time that passes whatever it shows."""

    def __init__(self, shows: float = NOW) -> None:
        self.shows, self.passed = shows, 0.0

    def now(self) -> float:
        return self.shows

    def monotonic(self) -> float:
        return self.passed

    def pass_(self, seconds: float) -> None:
        self.shows += seconds
        self.passed += seconds


@pytest.mark.parametrize("shows", [0.0, NOW, 2_147_483_647.0], ids=["1970", "right", "2038"])
def test_it_is_asked_once_a_day_whatever_the_clock_shows(shows: float) -> None:
    clock = Clock(shows)
    fresh = Freshness(clock, 0.0)
    assert fresh.is_due()
    fresh.heard()
    for _ in range(3):
        clock.pass_(0.79 * DAY_S)
        assert not fresh.is_due()
        clock.pass_(0.21 * DAY_S)
        assert fresh.is_due()
        fresh.asked()
        assert not fresh.is_due()
        clock.pass_(AGAIN_S)
        assert fresh.is_due()  # it was not answered
        fresh.asked()
        assert fresh.stale_s() is None
        fresh.heard()
        assert not fresh.is_due()


def test_what_can_not_go_on_without_asks_soon() -> None:
    clock = Clock()
    fresh = Freshness(clock, NOW - 1)
    assert not fresh.is_due()
    fresh.want()
    assert fresh.is_due()
    fresh.asked()
    assert not fresh.is_due()
    clock.pass_(SOON_S)
    assert fresh.is_due()


def test_a_start_asks_only_when_a_day_has_passed_or_nobody_can_tell() -> None:
    assert not Freshness(Clock(), NOW - 0.5 * DAY_S).is_due()
    assert not Freshness(Clock(), NOW + 60).is_due()  # set back by a minute
    assert Freshness(Clock(), NOW - 1.1 * DAY_S).is_due()
    assert Freshness(Clock(0.0), NOW).is_due()


def test_no_answer_for_a_week_is_told_and_not_before_it_was_asked_for() -> None:
    clock = Clock()
    fresh = Freshness(clock, NOW - 100 * DAY_S)  # a board that lay in a drawer
    assert fresh.stale_s() is None
    fresh.asked()
    assert fresh.stale_s() is None
    clock.pass_(AGAIN_S)
    assert fresh.stale_s() == pytest.approx(100 * DAY_S + AGAIN_S)
    fresh.heard()
    assert fresh.stale_s() is None
    clock.passed += STALE_S  # the clock stands
    fresh.asked()
    clock.passed += AGAIN_S
    assert fresh.stale_s() == pytest.approx(STALE_S + AGAIN_S)


def test_a_clock_that_jumps_ahead_is_no_reason_to_tell() -> None:
    clock = Clock()
    fresh = Freshness(clock, NOW)
    clock.shows += 3000 * DAY_S
    assert fresh.is_due()
    fresh.asked()
    assert fresh.stale_s() is None
    fresh.heard()
    clock.pass_(0.5 * DAY_S)
    assert not fresh.is_due() and fresh.stale_s() is None


def test_where_the_clock_is_behind_the_last_answer_a_day_without_one_is_told() -> None:
    clock = Clock(0.0)
    fresh = Freshness(clock, NOW)
    fresh.asked()
    clock.pass_(0.9 * DAY_S)
    assert fresh.stale_s() is None
    clock.pass_(0.2 * DAY_S)
    assert fresh.stale_s() == pytest.approx(1.1 * DAY_S)


def test_without_a_first_answer_there_is_nothing_to_be_stale() -> None:
    clock = Clock()
    fresh = Freshness(clock, 0.0)
    fresh.asked()
    clock.pass_(30 * DAY_S)
    assert fresh.stale_s() is None and fresh.is_due()
