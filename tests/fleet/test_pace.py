"""How fast a rollout may go: what each limit bounds, for any devices and any course of events."""

import random
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelift_agent.update.plan import PASSING as PASSING_ON_THE_DEVICE
from edgelift_contract.errors import CODES, PASSING
from edgelift_fleet.rollout.pace import Begun, Trait, admit, shut
from edgelift_fleet.rollout.plan import Plan, parse_waves
from edgelift_fleet.rollout.retry import retry_at
from edgelift_fleet.rollout.windows import parse_window

pytestmark = pytest.mark.fleet

ALL = parse_waves(["100%"])
NOON = datetime(2026, 11, 27, 12, tzinfo=ZoneInfo("UTC")).timestamp()


def test_without_limits_everybody_begins() -> None:
    found = admit(Plan(ALL), ["a", "b"], {}, under_way=9, starts=[], now=NOON)
    assert (found.devices, found.waits, found.until) == (("a", "b"), "", 0.0)


def test_nobody_begins_before_the_start_time() -> None:
    plan = Plan(ALL, start_at=NOON + 60)
    found = admit(plan, ["a"], {}, under_way=0, starts=[], now=NOON)
    assert (found.devices, found.until) == ((), NOON + 60) and "Fri 2026-11-27 12:01 UTC" in found.waits
    assert admit(plan, ["a"], {}, under_way=0, starts=[], now=NOON + 60).devices == ("a",)


def test_each_device_begins_by_its_own_clock() -> None:
    plan = Plan(ALL, windows=(parse_window("Mon-Fri 22:00-05:00"),), timezone="Asia/Tokyo")
    traits = {
        "vienna": Trait("Europe/Vienna"), "tokyo": Trait("Asia/Tokyo"), "odd": Trait("Mars/Base"), "untold": Trait(),
    }  # fmt: skip
    at = NOON + 2 * 3600  # 15:00 in Vienna, 23:00 in Tokyo
    found = admit(plan, list(traits), traits, under_way=0, starts=[], now=at)
    assert found.devices == ("tokyo", "odd", "untold")
    assert "1 waits for the window, which opens at Fri 2026-11-27 22:00 Europe/Vienna" in found.waits
    assert found.until == at + 7 * 3600
    assert shut(plan, list(traits), traits, at) == ("vienna",)
    assert shut(plan, list(traits), traits, at + 6 * 3600) == tuple(traits)  # 05:00 in Tokyo
    assert shut(Plan(ALL), list(traits), traits, at) == ()


def test_no_more_are_under_way_than_may_be() -> None:
    found = admit(Plan(ALL, concurrency=3), list("abcd"), {}, under_way=1, starts=[], now=NOON)
    assert found.devices == ("a", "b") and found.waits == "2 wait because 3 are under way at once."
    assert admit(Plan(ALL, concurrency=3), list("abcd"), {}, under_way=7, starts=[], now=NOON).devices == ()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([0.0, 0.5, 6.0, 60.0, 600.0]), st.sampled_from([0.0, 1e3, 1e6]), st.integers(0, 2**32),
    st.sampled_from([0.3, 1.0, 7.0]),
)  # fmt: skip
def test_rates_hold_over_any_stretch(per_min: float, bandwidth: float, seed: int, tick_s: float) -> None:
    """Played tick by tick with devices of all sizes: no stretch has more than its share, and all begin in the end."""
    chance = random.Random(seed)
    traits = {f"d{n}": Trait(size_bytes=chance.choice([0, 10, 5_000, 2_000_000])) for n in range(60)}
    plan = Plan(ALL, rate_per_min=per_min, bandwidth_bytes_s=bandwidth)
    left, starts, now = list(traits), [], NOON
    while left:
        found = admit(plan, left, traits, under_way=0, starts=starts, now=now)
        assert list(found.devices) == [d for d in left if d in found.devices]
        starts += [Begun(now, traits[d].size_bytes) for d in found.devices]
        left = [d for d in left if d not in found.devices]
        if left:
            assert found.until > now and found.waits
            now = max(now + tick_s, found.until if chance.random() < 0.9 else 0.0)
    largest = max(t.size_bytes for t in traits.values())
    for n, first in enumerate(starts):
        for last in starts[n:]:
            stretch, span = [s for s in starts if first.at <= s.at <= last.at], last.at - first.at
            if per_min:
                assert len(stretch) <= per_min / 60 * (span + 1) + 1 + 1e-6
            if bandwidth:
                assert sum(s.size_bytes for s in stretch) <= bandwidth * (span + 1) + largest + 10  # of floats
    if not per_min and not bandwidth:
        assert now == NOON


def test_it_waits_no_longer_than_it_must() -> None:
    """Six a minute: the seventh second of waiting is one too few, the ninth is enough."""
    plan = Plan(ALL, rate_per_min=6)
    for passed, may in ((8.9, False), (9.1, True)):
        found = admit(plan, ["b"], {}, under_way=0, starts=[Begun(NOON)], now=NOON + passed)
        assert bool(found.devices) is may


def test_a_clock_that_was_set_back_stops_nothing_for_ever() -> None:
    plan = Plan(ALL, rate_per_min=60)
    found = admit(plan, ["b"], {}, under_way=0, starts=[Begun(NOON + 86400)] * 5, now=NOON)
    assert found.until <= NOON + 5


@pytest.mark.parametrize(
    ("code", "tried", "at"),
    [
        ("unreachable", 0, 110.0), ("unreachable", 1, 120.0), ("cut-short", 2, 140.0), ("unreachable", 3, None),
        ("interrupted", 0, 110.0), ("golden-mismatch", 0, None), ("runtime-missing", 0, None), ("", 0, None),
    ],
)  # fmt: skip
def test_what_passes_is_asked_again_later_and_later(code: str, tried: int, at: float | None) -> None:
    assert retry_at(Plan(ALL, retries=3, retry_after_s=10), code, tried, 100.0) == at
    assert retry_at(Plan(ALL, retry_after_s=10), code, tried, 100.0) is None


def test_a_wait_is_never_longer_than_a_day() -> None:
    assert retry_at(Plan(ALL, retries=10, retry_after_s=1e9), "unreachable", 9, 0.0) == 86400.0


def test_what_passes_is_the_same_on_both_sides() -> None:
    assert set(CODES) >= PASSING >= PASSING_ON_THE_DEVICE
