"""`decide` with limits: whole rollouts played under windows, concurrency and rates; failures that pass."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelift_fleet.rollout.decide import decide
from edgelift_fleet.rollout.decisions import Advance, Finish, Hold, HoldBack, RollBack
from edgelift_fleet.rollout.forecast import begins_last
from edgelift_fleet.rollout.pace import Trait, admit, shut
from edgelift_fleet.rollout.plan import Plan, parse_waves
from edgelift_fleet.rollout.situation import DeviceSeen, Observations
from edgelift_fleet.rollout.windows import is_open, open_zone, parse_window
from tests.fleet.played import Play

pytestmark = pytest.mark.fleet

ALL = parse_waves(["100%"])
UTC = open_zone("UTC")
assert UTC is not None


class Paced(Play):
    """A played rollout whose devices have sizes; notes when devices were asked to begin, and holds the concurrency."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.starts: list[float] = []

    def see(self) -> Observations:
        return replace(super().see(), traits={name: Trait(size_bytes=100) for name in self.boards})

    def _assign(self, names: tuple[str, ...]) -> None:
        before = self._under_way()
        super()._assign(names)
        self.starts += [self.now] * len(names)
        if names and self.plan.concurrency:
            # Those that were off when they were asked come back when they like: these alone may be more.
            assert self._under_way() <= max(before, self.plan.concurrency)

    def _under_way(self) -> int:
        return sum(d.status in ("waiting", "updating") for d in self.see().devices)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 25), st.integers(0, 2**32), st.sampled_from([0, 1, 3]), st.sampled_from([0.0, 6.0, 60.0]),
    st.sampled_from([0.0, 20.0]), st.booleans(), st.sampled_from([0.0, 0.1]),
)  # fmt: skip
def test_a_paced_rollout_ends_and_keeps_its_limits(
    size: int, seed: int, concurrency: int, per_min: float, bandwidth: float, nightly: bool, p_bad: float
) -> None:
    windows = (parse_window("00:05-00:10"), parse_window("12:00-12:20")) if nightly else ()
    plan = Plan(
        parse_waves(["1", "50%", "100%"]), max_failures=1, deadline_s=500.0, concurrency=concurrency,
        rate_per_min=per_min, bandwidth_bytes_s=bandwidth, windows=windows, timezone="UTC", start_at=100.0,
    )  # fmt: skip
    play = Paced(plan, size, seed, p_bad)
    play.to_the_end()
    assert all(at >= 100.0 and is_open(windows, UTC, at) for at in play.starts)
    for n, first in enumerate(play.starts):
        for m, last in enumerate(play.starts[n:], 1):
            assert not per_min or m <= per_min / 60 * (last - first + 1) + 1 + 1e-6
            assert not bandwidth or 100 * m <= bandwidth * (last - first + 1) + 100 + 1e-3


def seen(*devices: DeviceSeen, cohort: str = "abc", wave: int = 0, **options: object) -> Observations:
    return Observations("running", wave, list(cohort), devices, **options)


def test_a_wave_begins_with_those_that_may_and_takes_the_others_in() -> None:
    plan = Plan(ALL, concurrency=2)
    begun = decide(plan, seen(wave=-1), 1000.0)
    assert begun == Advance(
        0, ("a", "b"), "Wave 1 of 1 begins with 2 devices. 1 waits because 2 are under way at once."
    )
    a, b = DeviceSeen("a", 0, "updating", 1000, 1000), DeviceSeen("b", 0, "committed", 1000, 1000)
    assert decide(plan, seen(a, b), 1001.0).join == ("c",)
    held = decide(plan, seen(a, replace(b, status="updating")), 1001.0)
    assert held.join == () and "1 waits because 2 are under way" in held.reason


def test_it_is_not_done_while_somebody_waits_to_begin() -> None:
    plan = Plan(ALL, rate_per_min=0.1)
    committed = [DeviceSeen(d, 0, "committed", 1000, 1000) for d in "ab"]
    decision = decide(plan, seen(*committed), 1100.0)
    assert isinstance(decision, Hold) and not decision.join and 1100 < decision.until < 3000
    assert decide(plan, seen(*committed), decision.until + 0.01).join == ("c",)


def test_what_has_not_begun_when_its_window_shuts_is_taken_back_until_the_next() -> None:
    plan = Plan(ALL, windows=(parse_window("01:00-02:00"),), deadline_s=1e5)
    traits = {"c": Trait("Asia/Tokyo")}  # where it is nine hours later
    devices = [DeviceSeen("a", 0, "waiting", 3600, 3600), DeviceSeen("b", 0, "updating", 3600, 3600)]
    assert isinstance(decide(plan, seen(*devices, traits=traits), 3700.0), Hold)
    back = decide(plan, seen(*devices, traits=traits), 7200.0)
    assert isinstance(back, HoldBack) and back.devices == ("a",)  # b has begun, and goes on
    held = seen(replace(devices[0], status="held"), devices[1], traits=traits)
    waits = decide(plan, held, 7201.0)
    assert isinstance(waits, Hold) and waits.join == () and "for the window, which opens at" in waits.reason
    assert waits.until == 16 * 3600  # 01:00 in Tokyo
    assert decide(plan, held, 16 * 3600.0).join == ("c",)
    assert decide(plan, held, 86400 + 3600.0).join[0] == "a"


def test_nobody_begins_so_late_that_its_probation_would_end_out_of_the_window() -> None:
    plan = Plan(ALL, windows=(parse_window("01:00-02:00"),), deadline_s=1e5, update_s=600.0)
    asked = DeviceSeen("a", 0, "waiting", 3600, 3600)
    assert decide(plan, seen(asked), 6600.0).join == ("b", "c")  # ten minutes before its end
    back = decide(plan, seen(asked), 6601.0)
    assert isinstance(back, HoldBack) and back.devices == ("a",)
    waits = decide(plan, seen(replace(asked, status="held")), 6602.0)
    assert isinstance(waits, Hold) and waits.join == () and waits.until == 86400 + 3600
    assert (
        "for the next window, at Fri 1970-01-02 01:00 UTC: this one shuts within the 600 s of probation"
        in waits.reason
    )
    never = decide(replace(plan, update_s=7200.0), seen(replace(asked, status="held")), 3600.0)
    assert isinstance(never, Hold) and "for ever: no window is as long as the probation" in never.reason


def test_a_failure_that_passes_is_asked_again_and_counts_only_when_it_stays() -> None:
    plan = Plan(ALL, retries=2, retry_after_s=10)
    failed = DeviceSeen("a", 0, "failed", 1000, 990, "no link (unreachable)", code="unreachable")
    others = [DeviceSeen(d, 0, "committed", 1000, 990) for d in "bc"]
    waits = decide(plan, seen(failed, *others), 1005.0)
    assert isinstance(waits, Hold) and waits.until == 1010 and "a is asked again" in waits.reason
    asked = decide(plan, seen(failed, *others), 1010.0)
    assert asked.join == ("a",) and asked.reason == "a: asked again, for what failed may pass."
    once = replace(failed, tried=1)
    assert decide(plan, seen(once, *others), 1010.0).join == () and decide(
        plan, seen(once, *others), 1020.0
    ).join == ("a",)
    assert isinstance(decide(plan, seen(replace(failed, tried=2), *others), 1020.0), RollBack)
    for other in (replace(failed, code="golden-mismatch"), replace(failed, status="silent", code="timed-out")):
        assert isinstance(decide(plan, seen(other, *others), 1005.0), RollBack)
    assert isinstance(decide(replace(plan, retries=0), seen(failed, *others), 1005.0), RollBack)


def test_who_is_off_at_its_windows_is_let_go_by_name_and_never_begins_out_of_them() -> None:
    """Windows shorter and longer than the deadline: it ends, and nobody keeps an assignment to take whenever it comes."""
    for deadline_s in (600.0, 7200.0):
        plan = Plan(ALL, windows=(parse_window("01:00-02:00"),), timezone="UTC", deadline_s=deadline_s)
        done = DeviceSeen("a", 0, "committed", 3600, 3600)
        off = DeviceSeen("b", 0, "offline", 3600, 3600)
        now, away = 3600.0, frozenset("b")
        while not isinstance(decision := decide(plan, seen(done, off, cohort="ab", away=away), now), HoldBack):
            assert isinstance(decision, Hold) and not decision.join
            now += 60
        assert decision.devices == ("b",) and now == 3600 + min(deadline_s, 3600)
        off = replace(off, status="held", since=now, assigned_at=now)
        back = decide(plan, seen(done, off, cohort="ab"), 86400 + 3600.0)
        assert isinstance(back, Hold) and back.join == ("b",)  # it came, within the next one
        while not isinstance(decision := decide(plan, seen(done, off, cohort="ab", away=away), now), Finish):
            assert (
                isinstance(decision, Hold)
                and not decision.join
                and "b to be there within the window" in decision.reason
            )
            now += 60
        assert decision.let_go == ("b",) and decision.outcomes == {"committed": ["a"], "let-go": ["b"]}
        assert now == 3600 + deadline_s


def test_where_nobody_is_there_within_the_window_it_waits_and_says_for_whom() -> None:
    plan = Plan(ALL, windows=(parse_window("01:00-02:00"),), timezone="UTC")
    off = DeviceSeen("a", 0, "held", 7200, 7200)
    decision = decide(plan, seen(off, cohort="a", away=frozenset("a")), 9e4)
    assert isinstance(decision, Hold) and "Waiting for a to be there" in decision.reason


def test_a_window_leaves_time_for_the_download_at_the_plans_bandwidth():
    plan = Plan(ALL, windows=(parse_window("01:00-02:00"),), update_s=600.0, bandwidth_bytes_s=1e6)
    asked = {"small": Trait("", 60_000_000), "large": Trait("", 1_200_000_000), "huge": Trait("", 9_000_000_000)}

    def may(name: str, before_end_s: float) -> tuple[bool, str]:
        found = admit(plan, [name], asked, under_way=0, starts=[], now=2 * 3600 - before_end_s)
        return found.devices == (name,), found.waits

    assert may("small", 660.0)[0] and not may("small", 659.0)[0]
    assert may("large", 1800.0)[0] and not may("large", 1799.0)[0]  # 20 minutes and 10
    assert "this one shuts within the 1800 s of download and probation" in may("large", 1799.0)[1]
    assert (
        may("huge", 2100.0)[0] and not may("huge", 2099.0)[0]
    )  # longer than any window: in its first part, not never
    assert shut(plan, ["small", "large"], asked, 2 * 3600 - 700.0) == ("large",)
    unbounded = replace(plan, bandwidth_bytes_s=0.0)
    assert shut(unbounded, ["small", "large"], asked, 2 * 3600 - 700.0) == ()
    # A plan's forecast has it, too.
    assert begins_last(plan, [asked["large"]], 600.0, 2 * 3600 - 1799.0) == 86400.0 + 3600.0
    assert begins_last(plan, [asked["small"]], 600.0, 2 * 3600 - 1799.0) == 2 * 3600 - 1799.0
