"""The policy of an update, as a table a reviewer can approve without reading code.

`TRANSITIONS` says where each event leads; `RESUME` says where to go on after a crash or a power cut, from the
state that the journal recorded *before* the step acted. No I/O here, and no clock.

An event without a row is a fault in edgelift and raises: better a loud stop than an undefined update.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class State(str, Enum):
    """Where an update stands. The values travel in reports and logs."""

    IDLE = "idle"
    FETCHING = "fetching"
    VERIFYING = "verifying"
    STAGING = "staging"
    PREFLIGHT = "preflight"
    SWAPPING = "swapping"
    OBSERVING = "observing"
    COMMITTING = "committing"
    ROLLING_BACK = "rolling-back"
    REPORTING = "reporting"


class Event(str, Enum):
    """What a step came to."""

    ASSIGNED = "assigned"
    DONE = "done"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    AMENDED = "amended"


_S, _E = State, Event

TRANSITIONS: Mapping[tuple[State, Event], State] = {
    (_S.IDLE, _E.ASSIGNED): _S.FETCHING,
    # Nothing served has changed yet: a failure only needs reporting, and a newer assignment ends it.
    (_S.FETCHING, _E.DONE): _S.VERIFYING,
    (_S.FETCHING, _E.FAILED): _S.REPORTING,
    (_S.FETCHING, _E.SUPERSEDED): _S.REPORTING,
    (_S.VERIFYING, _E.DONE): _S.STAGING,
    (_S.VERIFYING, _E.FAILED): _S.REPORTING,
    (_S.VERIFYING, _E.SUPERSEDED): _S.REPORTING,
    (_S.STAGING, _E.DONE): _S.PREFLIGHT,
    (_S.STAGING, _E.FAILED): _S.REPORTING,
    (_S.STAGING, _E.SUPERSEDED): _S.REPORTING,
    (_S.PREFLIGHT, _E.DONE): _S.SWAPPING,
    (_S.PREFLIGHT, _E.FAILED): _S.REPORTING,
    (_S.PREFLIGHT, _E.SUPERSEDED): _S.REPORTING,
    # The same artifact is wanted in other words: they are judged from the start, and nothing is fetched twice.
    (_S.FETCHING, _E.AMENDED): _S.FETCHING,
    (_S.VERIFYING, _E.AMENDED): _S.FETCHING,
    (_S.STAGING, _E.AMENDED): _S.FETCHING,
    (_S.PREFLIGHT, _E.AMENDED): _S.FETCHING,
    # From here on, every failure is undone first. A swap is too short to be superseded.
    (_S.SWAPPING, _E.DONE): _S.OBSERVING,
    (_S.SWAPPING, _E.FAILED): _S.ROLLING_BACK,
    (_S.OBSERVING, _E.DONE): _S.COMMITTING,
    (_S.OBSERVING, _E.FAILED): _S.ROLLING_BACK,
    (_S.OBSERVING, _E.SUPERSEDED): _S.ROLLING_BACK,
    (_S.COMMITTING, _E.DONE): _S.REPORTING,
    (_S.COMMITTING, _E.FAILED): _S.ROLLING_BACK,
    # Tried again; the journal's counter turns the last try into DONE with the outcome "inconsistent".
    (_S.ROLLING_BACK, _E.DONE): _S.REPORTING,
    (_S.ROLLING_BACK, _E.FAILED): _S.ROLLING_BACK,
    # An unsent report stays queued on disk, so it can't hold up the next update.
    (_S.REPORTING, _E.DONE): _S.IDLE,
    (_S.REPORTING, _E.FAILED): _S.IDLE,
}

#: Journalled state when the process ended without a word → where to go on.
RESUME: Mapping[State, State] = {
    _S.IDLE: _S.IDLE,
    _S.FETCHING: _S.FETCHING,  # ranges: what came is kept
    _S.VERIFYING: _S.VERIFYING,
    # What lies on disk after a power cut is not trusted before it was hashed again.
    _S.STAGING: _S.VERIFYING,
    _S.PREFLIGHT: _S.VERIFYING,
    # The model in question may be what ended the process.
    _S.SWAPPING: _S.ROLLING_BACK,
    _S.OBSERVING: _S.ROLLING_BACK,
    _S.COMMITTING: _S.COMMITTING,  # does nothing twice
    _S.ROLLING_BACK: _S.ROLLING_BACK,
    _S.REPORTING: _S.REPORTING,
}

#: The same after a clean stop: nothing is suspected, probation goes on where it stood.
RESUME_CLEAN: Mapping[State, State] = {**RESUME, _S.SWAPPING: _S.SWAPPING, _S.OBSERVING: _S.SWAPPING}

#: States in which a newer assignment may end or amend the update, because nothing served has changed yet.
BEFORE_SWAP = frozenset({_S.FETCHING, _S.VERIFYING, _S.STAGING, _S.PREFLIGHT})


def follow(state: State, event: Event) -> State:
    """The next state.

    Raises:
        ValueError: the table has no such row.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ValueError(f"no transition from {state.value} on {event.value}") from None
