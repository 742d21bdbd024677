"""What a rollback takes back, from which states, and whom it waits for: without a network, look by look."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelift_contract.errors import ContractError
from tests.fleet.conftest import both_engines
from tests.fleet.direct import Direct, direct, ready, settle
from tests.waiting import until

pytestmark = pytest.mark.fleet


@pytest.fixture
def fleet(site: Path) -> Iterator[Direct]:
    with direct(site) as made:
        yield made


@both_engines
def test_a_rollback_waits_for_everybody_until_a_person_lets_them_go(fleet: Direct) -> None:
    ready(fleet, "a", "b", "c")
    rollout = fleet.start("digits@2", "100%", deadline_s=0.3)
    settle(fleet, rollout, "a", "b", "c")
    assert fleet.show(rollout).state == "done"
    fleet.go("b", "c")
    fleet.order(rollout, "rollback", why="It runs hot.")
    # There is no deadline after which one is forgotten.
    until(lambda: time.time() > fleet.show(rollout).changed_at + 0.5)
    assert settle(fleet, rollout, "a") == "rolling-back"
    assert fleet.statuses(rollout) == {"a": "restored", "b": "offline", "c": "offline"}
    fleet.come("b")
    fleet.answer("b")
    assert settle(fleet, rollout, looks=1) == "rolling-back"
    with pytest.raises(ContractError, match="awaited of b"):
        fleet.order(rollout, "let-go", "b")
    with pytest.raises(ContractError, match="not reached z"):
        fleet.order(rollout, "let-go", "z")
    with pytest.raises(ContractError, match="No device"):
        fleet.order(rollout, "let-go")
    fleet.order(rollout, "let-go", "c", why="It was stolen.")
    assert settle(fleet, rollout, looks=1) == "rolled-back"
    shown = fleet.show(rollout)
    assert shown.events[-1].devices == {"restored": ["a", "b"], "let-go": ["c"]}
    assert "It runs hot." in shown.reason and "c" in shown.reason
    assert next((e.who, e.why) for e in shown.events if e.kind == "let-go") == ("operator", "It was stolen.")


@both_engines
@pytest.mark.parametrize("keep_earlier", [False, True])
def test_who_is_let_go_right_after_a_rollback_was_ordered_is_given_it_and_not_waited_for(
    fleet: Direct, keep_earlier: bool
) -> None:
    ready(fleet, "a", "b")
    rollout = fleet.start("digits@2", "1,100%", keep_earlier=keep_earlier)
    settle(fleet, rollout, "a", "b")
    fleet.go("a", "b")
    fleet.order(rollout, "rollback")
    fleet.order(rollout, "let-go", "a")  # before the controller has looked
    fleet.look(3)
    assert fleet.statuses(rollout) == {"a": "let-go", "b": "offline"}
    assert {one.slots["digits"].version for one in fleet.wanted("a", "b").values()} == {"1"}
    fleet.come("b")
    fleet.answer("b")
    assert settle(fleet, rollout, looks=1) == "rolled-back"


def test_who_was_let_go_before_a_rollback_is_taken_back_and_waited_for(fleet: Direct) -> None:
    ready(fleet, "a", "b")
    rollout = fleet.start("digits@2", "100%")
    fleet.look()
    fleet.answer("a")
    fleet.go("b")
    fleet.look()
    fleet.order(rollout, "let-go", "b")
    fleet.look()
    assert fleet.show(rollout).state == "done"
    fleet.come("b")
    fleet.answer("b")
    fleet.go("b")
    fleet.order(rollout, "rollback")
    fleet.look(2)
    assert fleet.statuses(rollout) == {"a": "updating", "b": "offline"}


@pytest.mark.parametrize("state", ["running", "paused", "cancelled", "done", "rolling-back", "rolled-back"])
def test_a_rollback_works_from_every_state(fleet: Direct, state: str) -> None:
    ready(fleet, "a", "b")
    rollout = fleet.start("digits@2", "1,100%")
    if state == "done":
        settle(fleet, rollout, "a", "b")
    else:
        fleet.look()
        fleet.answer(*fleet.statuses(rollout))
        fleet.look()
        for command in {"paused": ["pause"], "cancelled": ["cancel"]}.get(state, []):
            fleet.order(rollout, command)
    if state.startswith("roll"):
        fleet.order(rollout, "rollback")
        settle(fleet, rollout, *(("a", "b") if state == "rolled-back" else ()))
    assert fleet.show(rollout).state == state
    fleet.order(rollout, "rollback")
    assert settle(fleet, rollout, "a", "b") == "rolled-back"
    assert fleet.versions("a", "b") == ["1", "1"]
    named = [d for names in fleet.show(rollout).events[-1].devices.values() for d in names]
    assert sorted(named) == ["a", "b"]


def test_whoever_was_never_told_is_back_at_once(fleet: Direct) -> None:
    ready(fleet, "a", "b")
    fleet.go("b")
    rollout = fleet.start("digits@2", "100%")
    fleet.look()
    fleet.answer("a", outcome="refused")
    assert settle(fleet, rollout, "a") == "rolled-back"  # nothing has to be waited for: b has what it had
    assert fleet.statuses(rollout) == {"a": "restored", "b": "restored"}
    fleet.come("b")
    fleet.answer("b")
    assert fleet.versions("b") == ["1"]
