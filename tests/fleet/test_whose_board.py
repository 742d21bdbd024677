"""Whom a rollout has and what is its to take back: not what a person did since, and whoever its own update has changed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelift_contract.errors import ContractError
from edgelift_contract.report import DeviceFacts
from edgelift_fleet.rollout.members import loosened
from edgelift_fleet.selector import And, Not, Or, parse_selector
from edgelift_fleet.selector_terms import All, Tag
from tests.fleet.conftest import both_engines
from tests.fleet.direct import Direct, direct

pytestmark = pytest.mark.fleet

SOME = DeviceFacts("x86-64-avx2", ["x86-64-avx2"], {"onnxruntime": "1.30.0"}, disk_free_bytes=10**9)
FULL = DeviceFacts("x86-64-avx2", ["x86-64-avx2"], {"onnxruntime": "1.30.0"}, disk_free_bytes=10**6)


@pytest.fixture
def fleet(site: Path) -> Iterator[Direct]:
    with direct(site) as made:
        yield made


def ready(fleet: Direct, *names: str, **options: object) -> None:
    """Boards that serve digits@1."""
    fleet.add(*names, **options)
    for name in names:
        fleet.assignments.assign(name, "digits@1")
    fleet.answer(*names)


def wanted(fleet: Direct, *names: str) -> dict[str, str]:
    return {name: one.slots["digits"].version if one.slots else "" for name, one in fleet.wanted(*names).items()}


@both_engines
@pytest.mark.parametrize("to", ["runs:digits@1", "not runs:digits@2", "tag:demo and (runs:digits@1 or id:x-*)"])
def test_who_took_the_release_stays_in_a_rollout_to_those_that_run_another(fleet: Direct, to: str) -> None:
    names = ["a", "b", "c", "d"]
    ready(fleet, *names)
    rollout = fleet.start("digits@2", "1,100%", to=to)
    fleet.look()
    (first,) = fleet.statuses(rollout)
    fleet.answer(first)
    fleet.look()
    assert fleet.show(rollout).wave == 2  # and not one more device of wave 1, and one more, until none is left
    with pytest.raises(ContractError, match=f"under way on the same slot of {first}"):
        fleet.start("digits@3", to=f"id:{first}")
    fleet.answer(*names)
    fleet.look()
    assert (fleet.show(rollout).state, set(fleet.statuses(rollout).values())) == ("done", {"committed"})


def test_a_download_that_fills_the_disk_puts_nobody_out_of_its_rollout(fleet: Direct) -> None:
    ready(fleet, "a", "b", facts=SOME)
    rollout = fleet.start("digits@2", to="fact:disk_free_bytes>=500M and tag:demo")
    fleet.look()
    (first,) = fleet.statuses(rollout)
    fleet.enrol(first, facts=FULL)
    fleet.look()
    assert fleet.statuses(rollout) == {first: "waiting"}
    fleet.tags[first] = {}
    fleet.say(first)
    fleet.look()
    assert fleet.statuses(rollout)[first] == "left"  # what an update doesn't change is asked as ever


def test_what_is_left_of_a_selector_means_all_whom_it_may_have_meant() -> None:
    tag = Tag("barn")
    assert loosened(parse_selector("tag:barn or class:x")) is None
    assert loosened(parse_selector("tag:barn and runs:digits")) == And((tag, All()))
    assert loosened(parse_selector("not (tag:barn or runs:digits)")) == Not(Or((tag, Not(All()))))


def test_who_is_left_out_of_a_rollout_is_free_for_another(fleet: Direct) -> None:
    ready(fleet, "a")
    fleet.start("digits@2", late_joiners="out")
    ready(fleet, "b")
    other = fleet.start("digits@3", to="id:b")
    fleet.look()
    assert fleet.statuses(other) == {"b": "waiting"}


def test_what_a_person_assigned_to_a_held_board_is_not_taken_from_it(fleet: Direct) -> None:
    ready(fleet, "a", "b", "c")
    fleet.go("b")
    rollout = fleet.start("digits@2", "100%")
    fleet.look()
    fleet.order(rollout, "pause")
    fleet.look()
    fleet.assignments.assign("a", "digits@3")
    fleet.assignments.clear("b", "digits")
    fleet.order(rollout, "rollback")
    fleet.look(2)
    assert wanted(fleet, "a", "b", "c") == {"a": "3", "b": "", "c": "1"}
    assert fleet.statuses(rollout)["a"] == fleet.statuses(rollout)["b"] == "superseded"


@pytest.mark.parametrize("when", ["resumed", "going back"])
def test_a_slot_that_a_person_emptied_stays_empty_and_holds_nobody_up(fleet: Direct, when: str) -> None:
    ready(fleet, "a", "b")
    rollout = fleet.start("digits@2", "100%")
    fleet.look()
    fleet.order(rollout, "pause" if when == "resumed" else "rollback")
    fleet.look()
    fleet.assignments.clear("a", "digits")
    if when == "resumed":
        fleet.order(rollout, "resume")
    fleet.look()
    fleet.answer("a", "b")
    fleet.look(2)
    assert wanted(fleet, "a") == {"a": ""}
    found, state = fleet.statuses(rollout), fleet.show(rollout).state
    expected = ("committed", "done") if when == "resumed" else ("restored", "rolled-back")
    assert (found["a"], found["b"], state) == ("superseded", *expected)


def test_what_a_board_refused_before_is_nothing_to_go_back_to(fleet: Direct) -> None:
    fleet.add("a")
    fleet.assignments.assign("a", "digits@1")
    fleet.answer("a", outcome="refused")
    rollout = fleet.start("digits@2", "100%")
    fleet.look()
    fleet.answer("a")
    fleet.look()
    fleet.order(rollout, "rollback")
    fleet.look()
    fleet.answer("a")  # it would refuse digits@1 again, and stay on what is to go
    fleet.look()
    assert (fleet.versions("a"), fleet.show(rollout).state) == ([""], "rolled-back")
