"""The update machine's tables keep what they promise, whatever row is added."""

import pytest

from edgelift_agent.update.machine import BEFORE_SWAP, RESUME, RESUME_CLEAN, TRANSITIONS, Event, State, follow

CHANGED_SINCE = [State.SWAPPING, State.OBSERVING, State.COMMITTING]


def test_every_state_is_reachable_from_idle() -> None:
    seen, todo = {State.IDLE}, [State.IDLE]
    while todo:
        here = todo.pop()
        for (source, _), target in TRANSITIONS.items():
            if source is here and target not in seen:
                seen.add(target)
                todo.append(target)
    assert seen == set(State)


@pytest.mark.parametrize("state", [s for s in State if s is not State.IDLE])
@pytest.mark.parametrize("event", [Event.DONE, Event.FAILED])
def test_every_busy_state_has_a_way_on_and_a_way_out(state: State, event: Event) -> None:
    assert (state, event) in TRANSITIONS


@pytest.mark.parametrize("state", CHANGED_SINCE)
def test_every_failure_after_the_swap_began_is_undone(state: State) -> None:
    assert TRANSITIONS[state, Event.FAILED] is State.ROLLING_BACK


@pytest.mark.parametrize("state", sorted(BEFORE_SWAP))
def test_before_the_swap_a_newer_assignment_ends_the_update_without_undoing(state: State) -> None:
    assert TRANSITIONS[state, Event.SUPERSEDED] is State.REPORTING
    assert TRANSITIONS[state, Event.FAILED] is State.REPORTING


@pytest.mark.parametrize("state", State)
def test_other_words_for_the_same_artifact_are_taken_from_the_start_before_the_swap_alone(state: State) -> None:
    assert TRANSITIONS.get((state, Event.AMENDED)) is (State.FETCHING if state in BEFORE_SWAP else None)


@pytest.mark.parametrize("state", State)
def test_every_path_ends_in_idle(state: State) -> None:
    """From anywhere, any sequence of events that makes progress comes to rest."""
    reached = {state}
    for _ in State:
        reached |= {target for (source, _), target in TRANSITIONS.items() if source in reached}
    assert State.IDLE in reached


def test_resume_covers_every_state_and_never_trusts_a_model_that_was_being_tried() -> None:
    assert set(RESUME) == set(RESUME_CLEAN) == set(State)
    for state in (State.SWAPPING, State.OBSERVING):
        assert RESUME[state] is State.ROLLING_BACK
    for state in (State.STAGING, State.PREFLIGHT):
        assert RESUME[state] is State.VERIFYING


def test_an_event_without_a_row_is_a_loud_fault() -> None:
    with pytest.raises(ValueError, match="no transition from idle on failed"):
        follow(State.IDLE, Event.FAILED)
