"""Scales and their ticks: round values that hold what is shown, and moments of UTC."""

from __future__ import annotations

import pytest

from edgelift_fleet.console.scales import Scale, fitted, linear_ticks, log_ticks, time_ticks


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 83, [0, 20, 40, 60, 80, 100]), (0, 1, [0, 0.5, 1.0]),
     (43.2, 61.7, [40, 45, 50, 55, 60, 65]), (0, 0.3, [0, 0.1, 0.2, 0.3]),
     (-3, 4, [-4, -2, 0, 2, 4])],
)  # fmt: skip
def test_round_values_hold_a_range(low: float, high: float, ticks: list[float]) -> None:
    assert linear_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(800, 24000, [1e3, 2e3, 5e3, 1e4, 2e4]), (30, 1e7, [100, 1e4, 1e6]), (1, 1000, [1, 10, 100, 1000])],
)
def test_a_wide_range_is_shown_by_powers_of_ten(low: float, high: float, ticks: list[float]) -> None:
    assert log_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize("values", [[], [0.0], [5.0], [5.0, 5.0], [1e-9], [3e12, 4e12], [-2.0, 7.0], [30.0, 9e6]])
@pytest.mark.parametrize("options", [{}, {"log": True}, {"zero": False}, {"whole": True}])
def test_any_values_have_a_scale_that_holds_them(values: list[float], options: dict[str, bool]) -> None:
    scale, ticks = fitted(values, 100.0, 0.0, **options)
    assert 1 <= len(ticks) <= 12 and ticks == sorted(set(ticks))
    assert all(-1e-9 <= scale.place(value) <= 100 + 1e-9 for value in [*values, *ticks])
    if len(values) > 1 and values[0] != values[1]:
        assert scale.place(min(values)) > scale.place(max(values))


def test_what_is_counted_has_whole_ticks() -> None:
    _, ticks = fitted([0.0, 1.0], 0.0, 1.0, ticks=2, whole=True)
    assert all(tick == int(tick) for tick in ticks)


def test_what_lies_beyond_an_end_stands_there() -> None:
    assert Scale(1, 100, 0, 10, log=True).place(1e9) == 10 and Scale(0, 1, 0, 10).place(-5) == 0


@pytest.mark.parametrize("length", [600, 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400, 400 * 86400])
def test_moments_are_round_and_few(length: float) -> None:
    start = 1764300123.0
    ticks = time_ticks(start, start + length, 8)
    assert 1 <= len(ticks) <= 9 and all(start <= at <= start + length and at % 60 == 0 for at, _ in ticks)


def test_a_midnight_is_told_by_its_day() -> None:
    labels = [label for _, label in time_ticks(1764300000, 1764300000 + 86400, 8)]
    assert labels == ["06:00", "09:00", "12:00", "15:00", "18:00", "21:00", "29 Nov", "03:00"]
