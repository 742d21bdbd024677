"""A gated wave waits for its boards' requests, until a stated time, and then does a stated thing: look by look."""

import itertools
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelift.rollout_preview import plan_line
from edgelift_contract import codec
from edgelift_contract.assignment import Policy
from edgelift_fleet.intake import Message
from edgelift_fleet.rollout.gates.gathered import Gathered, WaveBoard, gather
from edgelift_fleet.rollout.gates.wave import WaveVerdict, judge_wave
from tests.fleet.conftest import both_engines
from tests.fleet.direct import AT_ONCE, Direct, counted, direct
from tests.fleet.telemetry.conftest import batch, window
from tests.waiting import until

pytestmark = pytest.mark.fleet

#: A wave of three against nine can be drawn in 220 ways.
BOARDS = [f"b{n:02}" for n in range(12)]
BUSY = Policy(probation_s=0.0, probation_min_requests=20)
_sequence = itertools.count(1)


@pytest.fixture
def fleet(site: Path) -> Iterator[Direct]:
    with direct(site) as made:
        yield made


def serve(
    fleet: Direct, names: Sequence[str], requests: int = 200, *, ago_s: float = 0.0, factor: float = 1.0
) -> None:
    """These boards tell of so many requests of a moment, as long ago as that."""
    start, chance = time.time() - ago_s, random.Random(1)
    for name in names:
        slot = fleet.slots[name]
        values = [factor * 500.0 * chance.lognormvariate(0.0, 0.3) for _ in range(requests)]
        one = window(start, values, version=slot.version, artifact=slot.artifact, length_s=0.001)
        made = batch(name, {next(_sequence): one}, epoch="outbox")
        fleet.take(Message("telemetry", name, codec.canonical_json(made), "mqtt"))


def ready(fleet: Direct, *, before: int = 200) -> None:
    """Boards that serve digits@1, and have served so many requests lately."""
    fleet.add(*BOARDS)
    for name in BOARDS:
        fleet.assignments.assign(name, "digits@1")
    fleet.answer(*BOARDS)
    if before:
        serve(fleet, BOARDS, before, ago_s=100.0)


def begin(fleet: Direct, **options: object) -> tuple[str, list[str]]:
    """A rollout whose first wave has committed: its id, and who is in that wave."""
    rollout = fleet.start("digits@2", "3,100%", seed=5, **options)
    fleet.look()
    wave = sorted(fleet.statuses(rollout))
    fleet.answer(*wave)
    if options.get("policy") is BUSY:
        serve(fleet, wave, 20)
    fleet.look()
    return rollout, wave


def gate_events(fleet: Direct, rollout: str) -> list[str]:
    return [event.text for event in fleet.show(rollout).events if event.kind == "gate"]


@both_engines
def test_a_wave_whose_boards_lack_requests_waits_and_goes_on_when_they_have_served(fleet: Direct) -> None:
    ready(fleet)
    rollout, wave = begin(fleet)
    fleet.look(3)
    waits = fleet.show(rollout)
    assert (waits.wave, waits.looks) == (1, []) and 3500 < waits.due_at - time.time() <= 3600
    assert (
        "0 of 3 boards (0 of 3 on x86-64-avx2) and 0 of 9 controls have served their 100 requests, needed since "
        in (waits.reason)
    )
    assert waits.reason.endswith(" UTC at most.") and "; waits until " in waits.reason
    serve(fleet, wave[:2])
    serve(fleet, [name for name in BOARDS if name not in wave][:7])
    fleet.look()
    assert "2 of 3 boards and 7 of 9 controls have" in fleet.show(rollout).reason and fleet.show(rollout).wave == 1
    serve(fleet, wave[2:])
    fleet.look()  # controls are waited for like members: else it would be a member that ends the wait each time
    assert "3 of 3 boards and 7 of 9 controls have" in fleet.show(rollout).reason and fleet.show(rollout).wave == 1
    fleet.work.clear()
    with counted(fleet.db) as statements:
        fleet.look()
    # While it waits it reads, and writes nothing.
    assert not [s for s in statements if not s.startswith(("SELECT", "BEGIN"))] and len(statements) <= 24
    serve(fleet, [name for name in BOARDS if name not in wave][7:])
    fleet.look(2)
    gone_on = fleet.show(rollout)
    assert gone_on.wave == 2
    (look,) = gone_on.looks
    assert (look.wave, look.look, look.breach, look.unmeasured) == (1, 1, False, False)
    assert (look.figures.served, look.figures.boards, look.figures.controls_served) == (3, 3, 9)
    assert {c.series for c in look.figures.contrasts} == {
        "latency p50", "latency p95", "error share", "silence", "no requests",
    }  # fmt: skip


def test_a_slower_release_is_stopped_also_by_a_look_that_had_to_wait(fleet: Direct) -> None:
    ready(fleet)
    rollout, wave = begin(fleet)
    others = [name for name in BOARDS if name not in wave]
    serve(fleet, others)
    fleet.look(2)
    assert fleet.show(rollout).wave == 1
    serve(fleet, wave, factor=1.3)
    fleet.look(2)
    stopped = fleet.show(rollout)
    assert stopped.state == "rolling-back" and "found latency p50 on x86-64-avx2 +" in stopped.reason
    (look,) = stopped.looks
    worst = look.figures.contrasts[0]
    assert look.breach and worst.shift == pytest.approx(0.3, abs=0.05) and worst.allowed == pytest.approx(0.05)
    assert look.figures.p <= look.figures.threshold == pytest.approx(0.01)


@both_engines
def test_while_a_wave_is_judged_boards_reports_are_stored(fleet: Direct, monkeypatch: pytest.MonkeyPatch) -> None:
    """Judging thousands takes a while: it holds no transaction that anybody waits for."""
    ready(fleet)
    rollout, _ = begin(fleet)
    serve(fleet, BOARDS)
    stored = []

    def judged(*args: Any, **options: Any) -> WaveVerdict:
        with ThreadPoolExecutor(1) as other:
            other.submit(serve, fleet, BOARDS[:1]).result(timeout=10)
        stored.append(args)
        return judge_wave(*args, **options)

    monkeypatch.setattr("edgelift_fleet.rollout.comparison.judge_wave", judged)
    fleet.look(2)
    assert stored and fleet.show(rollout).wave == 2


@both_engines
def test_nobody_serves_then_it_pauses_at_the_stated_time_and_a_person_goes_on(fleet: Direct) -> None:
    ready(fleet)
    rollout, _ = begin(fleet, gate_wait_s=0.5)
    fleet.look()
    assert fleet.show(rollout).state == "running"
    until(lambda: fleet.look() or fleet.show(rollout).state == "paused")
    paused = fleet.show(rollout)
    assert paused.reason == (
        "Wave 1 is not measured: look 1 of 1: nothing but silence can be compared; 0 of 3 boards (0 of 3 on x86-64-avx2) "
        "and 0 of 9 controls have served their 100 requests. Resume it to go on without."
    )
    assert paused.looks[0].unmeasured and fleet.versions(*BOARDS).count("2") == 3
    assert [event.kind for event in paused.events][-2:] == ["gate", "paused"]
    fleet.look(3)
    assert fleet.show(rollout).state == "paused" and len(fleet.show(rollout).looks) == 1
    fleet.order(rollout, "resume", why="Nobody asks them at night.")
    fleet.look(2)
    assert fleet.show(rollout).wave == 2 and "Wave 1 goes on unmeasured." in gate_events(fleet, rollout)


def test_a_plan_may_go_on_unmeasured_and_then_says_so(fleet: Direct) -> None:
    ready(fleet)
    rollout, _ = begin(fleet, gate_wait_s=0.0, gate_unmeasured="advance")
    fleet.look(2)
    assert fleet.show(rollout).wave == 2
    assert gate_events(fleet, rollout)[0].endswith("; it goes on unmeasured, as the plan says.")
    assert "gate_unmeasured advance" in plan_line(fleet.show(rollout).plan)


def test_boards_that_lacked_requests_before_the_wave_pause_it_where_the_plan_asks_for_requests(
    fleet: Direct,
) -> None:
    ready(fleet, before=30)
    rollout, _ = begin(fleet, policy=BUSY, gate_wait_s=0.3)
    serve(fleet, BOARDS)
    fleet.look()
    assert fleet.show(rollout).wave == 1
    until(lambda: fleet.look() or fleet.show(rollout).state == "paused")
    assert "(before the wave 3 boards and 9 controls had not)" in fleet.show(rollout).reason


@pytest.mark.parametrize("first", [True, False])
def test_boards_without_traffic_hang_no_rollout_that_puts_up_with_them(fleet: Direct, first: bool) -> None:
    if first:  # nothing was there before that anything could be compared with
        fleet.add(*BOARDS)
    else:
        ready(fleet, before=30)
    rollout, _ = begin(fleet, policy=BUSY if first else AT_ONCE)
    fleet.look(2)
    assert fleet.show(rollout).wave == 2
    why = "the slot was empty before, so there is nothing to compare with" if first else (
        "too few have traffic: 0 of 3 boards and 0 of 9 controls had served 100 requests before the wave"
    )  # fmt: skip
    said = gate_events(fleet, rollout)[0]
    assert said.startswith("Wave 1, look 1 of 1: nothing ") and said.endswith(
        f"; {why}. Each board's own guard decides alone."
    )


def test_windows_that_reach_into_the_wave_are_not_taken_for_what_was_before(fleet: Direct) -> None:
    ready(fleet, before=0)
    now = time.time()
    for name in BOARDS:
        ended = window(now - 55, [500.0] * 60, artifact=fleet.slots[name].artifact, length_s=50)
        ends = {1: ended, 2: window(now - 4, [500.0] * 60, artifact=ended.artifact)}
        fleet.take(Message("telemetry", name, codec.canonical_json(batch(name, ends, "long")), "mqtt"))
    rollout, _ = begin(fleet, policy=BUSY)
    fleet.look()
    assert "(before the wave 3 boards and 9 controls had not)" in fleet.show(rollout).reason
    serve(fleet, [name for name in BOARDS if fleet.versions(name) == ["1"]], 60, ago_s=200)
    fleet.look()
    assert "(before the wave 3 boards and 0 controls had not)" in fleet.show(rollout).reason


# The rule alone


def board(**fields: object) -> WaveBoard:
    return replace(WaveBoard("neon", member=True, first=False, before=True, since=True, there=True), **fields)


def control(**fields: object) -> WaveBoard:
    return board(member=False, **fields)


def gather_all(*boards: WaveBoard, idle_allowed: bool = False) -> Gathered:
    return gather(Counter(boards), 0.01, 100, idle_allowed=idle_allowed)


def test_a_class_is_waited_for_as_a_whole_whoever_is_late() -> None:
    controls = [control()] * 20
    assert gather_all(*[board()] * 5, *controls).ready
    for late in (replace(board(), since=False), replace(control(), since=False)):
        mine, others = [board()] * (5 - late.member), controls[: 20 - (not late.member)]
        assert not gather_all(*mine, *others, late).ready
        assert gather_all(*mine, *others, replace(late, there=False)).ready  # nobody can wait for it
    # With six members or more nine of ten are waited for: 27 of these 30.
    for late in (board(since=False), control(since=False)):
        for missing in (3, 4):
            mine = [board()] * (6 - missing * late.member)
            others = [control()] * (24 - missing * (not late.member))
            assert gather_all(*mine, *others, *[late] * missing).ready == (missing == 3)


def test_half_of_a_class_is_enough_for_a_judgement_and_it_is_said_on_whom_it_rests() -> None:
    controls = [*[control()] * 38, *[control(since=False, idle=True)] * 2]
    mine = [*[board()] * 7, *[board(since=False, idle=True)] * 3, *[board(since=False)] * 2]
    far = gather_all(*mine, *controls)
    assert far.enough and far.judged_on == (
        "judged on 7 of 12 boards: 3 had no requests, 2 had too few requests; 38 of 40 controls: 2 had no requests"
    )
    assert gather_all(*[board()] * 12, *controls[:38]).judged_on == ""
    gone = gather_all(*[board()] * 5, board(since=False, there=False), board(before=False), *controls[:38])
    assert gone.judged_on == "judged on 5 of 7 boards: 1 went away, 1 had too few requests before; 38 controls"
    assert gather_all(*[board()] * 6, *[board(since=False)] * 6, *controls).enough
    few = gather_all(*[board()] * 2, *[board(since=False)] * 4, *controls)
    assert not few.enough and few.text.startswith(
        "2 of 6 boards (2 of 6 on neon) and 38 of 40 controls have served"
    )


def test_the_decision_says_on_whom_it_rests(fleet: Direct) -> None:
    ready(fleet)
    rollout = fleet.start("digits@2", "4,100%", seed=5, gate_wait_s=1.0)
    fleet.look()
    wave = sorted(fleet.statuses(rollout))
    fleet.answer(*wave)
    fleet.look()
    serve(fleet, [name for name in BOARDS if name != wave[0]])
    until(lambda: fleet.look() or fleet.show(rollout).wave == 2 or fleet.show(rollout).state == "paused")
    view = fleet.show(rollout)
    assert view.wave == 2 and not view.looks[0].unmeasured
    (said,) = [e.text for e in view.events if e.kind == "wave" and e.text.startswith("Wave 1 committed")]
    assert said.startswith("Wave 1 committed, compared at look 1 of 1: nothing ")
    assert "; judged on 3 of 4 boards: 1 had no requests; 8 controls; wave 2 of 2 begins with 8 devices." in said


def test_a_class_that_nobody_looked_at_is_not_outvoted_by_the_others() -> None:
    neon, dotprod = [board()] * 6, [board(hardware_class="dotprod", since=False)] * 3
    controls = [*[control()] * 20, *[control(hardware_class="dotprod")] * 20]
    far = gather_all(*neon, *dotprod, *controls)
    assert far.comparable and not far.enough and "(0 of 3 on dotprod)" in far.text
    # A class without controls can't be compared whatever it serves.
    alone = gather_all(*neon, *dotprod, *[control()] * 20)
    assert alone.ready and (alone.served, alone.boards) == (6, 6)


def test_who_is_new_or_idle_by_the_plan_is_not_waited_for() -> None:
    controls = [control()] * 20
    idle = [board(before=False, since=False)] * 3
    spared = gather_all(*[board()] * 3, *idle, *controls, idle_allowed=True)
    assert spared.ready and (spared.boards, spared.judged_on) == (3, "")
    assert gather_all(*[board()] * 3, *idle, *controls).enough  # half of them: what was before can't be mended
    assert not gather_all(*[board()] * 2, *idle, *controls).enough
    new = gather_all(*[board(first=True, before=False)] * 6, *controls)
    assert new.ready and not new.comparable and "empty before" in new.text


def test_the_edges_of_enough_and_of_waiting() -> None:
    controls, late = [control()] * 20, {"since": False}
    # One of two has served: half, but 21 ways to draw it are too few.
    assert not gather_all(board(), board(**late), *controls).enough
    assert gather_all(*[board()] * 2, *controls).enough
    # Not one control has served.
    assert not gather_all(*[board()] * 5, *[control(**late)] * 20).enough
    others = [*[board(hardware_class="a")] * 3, *[control(hardware_class="a", **late)] * 9]
    assert not gather_all(*[board()] * 5, *controls, *others).enough
    # What can't be compared whatever it serves isn't waited for.
    alone = gather_all(board(**late), *[control(**late)] * 5)
    assert alone.ready and not alone.comparable
    # Half of a class is there and has served: of the others nothing is awaited. With one less, what is on its way may come.
    gone = control(since=False, there=False)
    assert gather_all(*[board()] * 5, *[control()] * 5, *[gone] * 10).ready
    assert not gather_all(*[board()] * 5, *[control()] * 4, *[gone] * 11).ready
    assert not gather_all(*[board(before=False)] * 3, *[control(before=False)] * 20).ready
    # Who had too little before is never waited for.
    assert gather_all(*[board()] * 5, *controls, control(before=False, since=False)).ready


BOARD = st.builds(
    WaveBoard,
    st.sampled_from(["a", "b"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


@given(st.lists(BOARD, max_size=40), st.booleans(), st.sampled_from([0.0, 0.01, 0.2]))
def test_laws_of_gathering(boards: list[WaveBoard], idle: bool, alpha: float) -> None:
    far = gather(Counter(boards), alpha, 100, idle_allowed=idle)
    assert not far.enough or far.comparable
    assert far.served <= far.boards and far.controls_served <= far.controls
    # When everybody has served, nobody is waited for; more requests never make a wave wait.
    done = [replace(b, before=True, since=True) for b in boards]
    assert gather(Counter(done), alpha, 100, idle_allowed=idle).ready
    more = gather(Counter(replace(b, since=b.since or b.before) for b in boards), alpha, 100, idle_allowed=idle)
    assert more.comparable == far.comparable and (more.ready or not far.ready) and (more.enough or not far.enough)


@given(st.lists(BOARD, max_size=40), st.booleans(), st.randoms(use_true_random=False))
def test_who_is_waited_for_does_not_depend_on_who_is_in_the_wave(
    boards: list[WaveBoard], idle: bool, chance: random.Random
) -> None:
    """Given what was before the wave; what each board did since then may be any other's of its class, wave or not."""
    groups: dict[tuple[object, ...], list[WaveBoard]] = {}
    for one in boards:
        groups.setdefault((one.hardware_class, one.first, one.before), []).append(one)
    drawn_anew = []
    for group in groups.values():
        places = [(one.since, one.there, one.idle) for one in group]
        chance.shuffle(places)
        drawn_anew += [
            replace(one, since=since, there=there, idle=silent)
            for one, (since, there, silent) in zip(group, places, strict=True)
        ]
    far, other = (gather(Counter(some), 0.01, 100, idle_allowed=idle) for some in (boards, drawn_anew))
    assert (far.comparable, far.ready) == (other.comparable, other.ready)
