"""Draws: by lot within a class, spread over the classes, the same whenever they are drawn again."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelift_fleet.cohorts import Member
from edgelift_fleet.rollout.draw import order

pytestmark = pytest.mark.fleet

CLASSES = ("arm64-neon", "arm64-dotprod", "x86-64-avx2")


@st.composite
def cohorts(draw: st.DrawFn) -> list[Member]:
    kinds = draw(st.lists(st.tuples(st.sampled_from(CLASSES), st.booleans()), max_size=40))
    return [Member(f"d{n:02}", kind, online=online) for n, (kind, online) in enumerate(kinds)]


@given(cohorts(), st.integers(0, 2**53), st.integers(0, 5), st.randoms(use_true_random=False))
def test_everybody_is_drawn_once_and_always_alike(
    cohort: list[Member], seed: int, wave: int, chance: random.Random
) -> None:
    drawn = order(cohort, seed, wave)
    assert sorted(drawn) == sorted(m.device for m in cohort)
    shuffled = list(cohort)
    chance.shuffle(shuffled)
    assert order(shuffled, seed, wave) == drawn


@given(cohorts(), st.integers(0, 2**53))
def test_those_that_are_there_come_first_and_every_class_of_them_at_once(cohort: list[Member], seed: int) -> None:
    by_id = {m.device: m for m in cohort}
    drawn = [by_id[device] for device in order(cohort, seed)]
    there = [m for m in drawn if m.online]
    assert drawn[: len(there)] == there
    kinds = {m.hardware_class for m in there}
    assert {m.hardware_class for m in there[: len(kinds)]} == kinds


@given(cohorts(), st.integers(0, 2**53), st.integers(1, 40))
def test_any_beginning_has_each_class_by_its_share(cohort: list[Member], seed: int, size: int) -> None:
    there = {m.device: m.hardware_class for m in cohort if m.online}
    beginning = [device for device in order(cohort, seed) if device in there][:size]
    whole, part = Counter(there.values()), Counter(there[device] for device in beginning)
    for kind, count in whole.items():
        # One of each class comes first: that is all by which a share may be off, and a rounding.
        assert abs(part[kind] - count * len(beginning) / len(there)) <= len(whole)


@given(cohorts(), st.integers(0, 2**53), st.data())
def test_who_comes_or_goes_leaves_the_others_in_their_order(
    cohort: list[Member], seed: int, data: st.DataObject
) -> None:
    left = data.draw(st.sets(st.sampled_from(cohort))) if cohort else set()
    stayed = [m for m in cohort if m not in left]
    for kind in CLASSES:
        same = {m.device for m in stayed if m.hardware_class == kind}
        assert [d for d in order(cohort, seed) if d in same] == [d for d in order(stayed, seed) if d in same]


def test_the_lot_favours_nobody() -> None:
    """Of 20 alike, each is first about equally often over 4,000 seeds: 200 times, give or take five deviations."""
    cohort = [Member(f"pi-{n}", "arm64-neon") for n in range(20)]
    first = Counter(order(cohort, seed)[0] for seed in range(4000))
    assert len(first) == 20 and all(abs(count - 200) < 5 * 13.8 for count in first.values())


def test_waves_draw_independently() -> None:
    """Who came late in one wave's draw is not late in the next: the ranks' correlation is that of chance."""
    cohort = [Member(f"pi-{n}", "arm64-neon") for n in range(400)]
    ranks = [{device: n for n, device in enumerate(order(cohort, 7, wave))} for wave in (0, 1)]
    mean = 199.5
    covariance = sum((ranks[0][m.device] - mean) * (ranks[1][m.device] - mean) for m in cohort) / 400
    assert abs(covariance / ((400**2 - 1) / 12)) < 5 / 400**0.5
