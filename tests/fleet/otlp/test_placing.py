"""When each part of an update was: nested whatever a device says, right where its clock is, and said where it isn't."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from tests.fleet.otlp.receiving import Span, check_nested

from edgelift_contract.report import UpdateReport
from edgelift_fleet.otlp.placing import PHASES, place
from edgelift_fleet.otlp.spans import fleet_resource, spans_of
from edgelift_fleet.untold import EndedUpdate

pytestmark = pytest.mark.fleet

AT = 1_795_000_000.0
TOOK = {"fetching": 20.0, "verifying": 1.0, "staging": 0.5, "preflight": 5.0, "swapping": 0.5, "observing": 60.0}
FLEET = fleet_resource("farm")


def ended(
    update: UpdateReport | None = None, *, assigned: float = 0.0, first: float = 10.0, received: float = 120.0,
    said: float = 120.0, finished: float = 118.0, clock: float = 0.0, **more: object,
) -> EndedUpdate:  # fmt: skip
    """An update assigned at 0 s; the device's clock is `clock` seconds off."""
    made = update or UpdateReport(
        "a" * 64, "digits", "2", 7, "r1", "committed", took_s=TOOK, finished_at=AT + finished if finished else 0.0, **more
    )  # fmt: skip
    return EndedUpdate(
        device="pi-1", slot="digits", update=made, agent_version="0.1.0", assigned_at=AT + assigned,
        first_at=AT + first, received_at=AT + received, said_at=max(0.0, AT + said + clock),
    )  # fmt: skip


def test_phases_lie_end_to_end_before_the_end_that_the_device_says() -> None:
    placed = place(ended())
    assert (placed.start, placed.begun, placed.end) == (AT, AT + 118 - 87, AT + 118)
    assert (placed.moved_s, placed.squeezed) == (0.0, False)
    assert [step.phase for step in placed.steps] == list(TOOK)
    assert [round(step.end - step.start, 3) for step in placed.steps] == list(TOOK.values())


@pytest.mark.parametrize("clock", [-AT, -86_400.0, 3600.0, 1e9])
def test_a_clock_that_can_not_be_right_is_put_right_and_that_is_said(clock: float) -> None:
    update = UpdateReport("a" * 64, took_s=TOOK, outcome="committed", finished_at=AT + 115 + clock)
    placed = place(ended(update, clock=clock))
    assert placed.end == AT + 115
    assert placed.moved_s == pytest.approx(-clock, abs=1)
    assert placed.begun == AT + 115 - 87


def test_a_report_that_was_long_on_its_way_is_no_wrong_clock() -> None:
    placed = place(ended(received=9000.0))
    assert (placed.end, placed.moved_s) == (AT + 118, 0.0)


def test_without_a_time_of_its_end_it_ended_when_that_was_heard() -> None:
    assert place(ended(finished=0.0)).end == AT + 120


def test_phases_that_take_longer_than_there_was_time_are_made_to_fit() -> None:
    update = UpdateReport("a" * 64, took_s={**TOOK, "fetching": 1e9}, outcome="committed", finished_at=AT + 118)
    placed = place(ended(update))
    assert placed.squeezed and placed.begun == AT and placed.end <= AT + 120


def test_a_later_try_begins_by_itself() -> None:
    placed = place(ended(attempts=2))
    assert placed.start == placed.begun == AT + 118 - 87


def test_of_an_agent_that_tells_no_phases_the_first_word_is_where_it_began() -> None:
    update = UpdateReport("a" * 64, outcome="committed", finished_at=AT + 118)
    placed = place(ended(update))
    assert (placed.start, placed.begun, placed.end, placed.steps) == (AT, AT + 10, AT + 118, [])
    names = [(one.name, one.resource.attributes["service.name"]) for one in spans_of(ended(update), FLEET)]
    assert names == [
        ("update", "edgelift-fleet"),
        ("assigned", "edgelift-fleet"),
        ("carried-out", "edgelift-agent"),
    ]


MOMENT = st.one_of(st.just(0.0), st.floats(0, 9_223_372_036), st.floats(AT - 1000, AT + 1000))
UPDATES = st.builds(
    UpdateReport, st.just("a" * 64), outcome=st.sampled_from(["committed", "refused", "rolled-back", "superseded"]),
    phase=st.sampled_from(["idle", "verifying", "observing"]), finished_at=MOMENT, attempts=st.integers(1, 3),
    took_s=st.dictionaries(st.sampled_from([*PHASES, "a phase of tomorrow"]), st.floats(0, 1e9)),
)  # fmt: skip


@given(UPDATES, st.sampled_from([0.0, AT, AT + 500]), MOMENT, st.floats(AT, AT + 1e6), MOMENT)
def test_whatever_a_device_says_its_spans_are_one_trace_and_the_same_each_time(
    update: UpdateReport, assigned: float, first: float, received: float, said: float
) -> None:
    one = EndedUpdate(
        device="pi-1", slot="digits", update=update, assigned_at=assigned, first_at=first, received_at=received,
        said_at=said,
    )  # fmt: skip
    made = [seen(span) for span in spans_of(one, FLEET)]
    check_nested(made)
    assert made == [seen(span) for span in spans_of(one, fleet_resource("farm"))]
    assert {seen(span).trace for span in spans_of(one, fleet_resource("barn"))} != {made[0].trace}


def seen(span: ReadableSpan) -> Span:
    of = span.context
    parent = f"{span.parent.span_id:016x}" if span.parent else ""
    return Span(
        span.name, f"{of.trace_id:032x}", f"{of.span_id:016x}", parent, span.start_time, span.end_time, False, "",
        dict(span.attributes),
    )  # fmt: skip
