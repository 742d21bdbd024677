"""A rollout's page: what comes next, its waves, gates and devices, what may be ordered by whom, and how it ended."""

import re

import msgspec
import pytest

from edgelift_fleet.console.pages.gate_picture import WIDTH, picture
from edgelift_fleet.console.pages.gate_words import Watched, tiles
from edgelift_fleet.console.pages.verdict_words import verdict
from edgelift_fleet.messages import LookContrast, LookFigures, RolloutLook
from edgelift_fleet.rollout.plan import Plan, Wave
from tests.console.visiting import Visitor
from tests.fleet.direct import ready, settle

BOARDS = [f"pi-{n}" for n in range(1, 6)]


def begun(visitor: Visitor, **options: object) -> str:
    ready(visitor.boards, *BOARDS)
    rollout = visitor.boards.start("digits@2", waves="2,100%", **options)
    visitor.boards.look()
    return rollout


def members(visitor: Visitor, rollout: str) -> list[str]:
    return sorted(visitor.boards.statuses(rollout))


def test_one_that_is_under_way_says_what_comes_next_and_where_its_waves_stand(visitor: Visitor) -> None:
    rollout = begun(visitor, name="Friday", comment="Less jitter.")
    data, page = visitor.data(f"/rollouts/{rollout}"), visitor.page(f"/rollouts/{rollout}")
    assert data["step"]["headline"].startswith("Wave 2 of 2 starts with 3 devices at ")
    assert "0 of 2 have" in [one["so_far"] for one in data["step"]["conditions"]]
    assert [(one["word"], one["planned"], one["devices"], one["under_way"]) for one in data["waves"]] == [
        ("running", 2, 2, 2), ("waiting", 3, 0, 0),
    ]  # fmt: skip
    for text in (
        "What happens next",
        "none of 5 devices fails",
        "Friday",
        "Less jitter.",
        'href="/devices/pi-',
        "0 of 2 devices serve it, 2 under way",
    ):
        assert text in page
    part = visitor.http.get(f"/rollouts/{rollout}?partial=1").text
    assert "What happens next" in part and "<html" not in part
    assert '/pulse?lively=1"' in page


def test_one_that_went_back_says_so_first_and_names_who_failed(visitor: Visitor) -> None:
    rollout = begun(visitor)
    bad = members(visitor, rollout)
    visitor.boards.answer(*bad, outcome="rolled-back")
    settle(visitor.boards, rollout, *bad, looks=3)
    data, page = visitor.data(f"/rollouts/{rollout}"), visitor.page(f"/rollouts/{rollout}")
    assert data["rollout"]["state"] == "rolled-back" and data["step"] is None
    assert re.fullmatch(
        r"Rolled back in wave 1 at \d\d:\d\d UTC: 2 devices failed, 0 allowed: .*; 2 of 5 boards had been asked to take it; "
        r"all are back on digits@1\.", data["verdict"],
    )  # fmt: skip
    assert [(one["device"], one["code"]) for one in data["failures"]] == [
        (name, "golden-mismatch") for name in bad
    ]
    assert "golden-mismatch" in page and "How it ended" in page and '/pulse?lively=0"' in page
    assert [one["word"] for one in data["waves"]] == ["rolled-back", "never"]


def test_a_person_pauses_resumes_and_rolls_back_and_says_why(visitor: Visitor) -> None:
    rollout = begun(visitor)
    visitor.boards.answer(*members(visitor, rollout))
    for command, state, why in (
        ("pause", "paused", "It is noon"),
        ("resume", "running", "Lunch is over"),
        ("rollback", "rolling-back", "It beeps"),
    ):
        assert f'action="/rollouts/{rollout}/{command}"' in visitor.page(f"/rollouts/{rollout}")
        answer = visitor.send(f"/rollouts/{rollout}/{command}", why=why)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/rollouts/{rollout}")
        assert visitor.data(f"/rollouts/{rollout}")["rollout"]["state"] == state
        newest = visitor.data(f"/rollouts/{rollout}")["story"][0]
        assert newest["why"] == why and newest["who"] and why in visitor.page(f"/rollouts/{rollout}")
    settle(visitor.boards, rollout, *members(visitor, rollout), looks=3)
    assert "(“It beeps”)" in visitor.data(f"/rollouts/{rollout}")["verdict"]


def test_an_approval_is_of_the_wave_that_was_shown(visitor: Visitor) -> None:
    rollout = begun(visitor, approval=True)
    visitor.boards.answer(*members(visitor, rollout))
    visitor.boards.look()
    data = visitor.data(f"/rollouts/{rollout}")
    assert "a person approves wave 2" in [one["text"] for one in data["step"]["conditions"]]
    assert [one["wave"] for one in data["orders"] if one["command"] == "approve"] == [2]
    assert visitor.send(f"/rollouts/{rollout}/approve", why="It is quiet.", wave="2").status_code == 303
    assert visitor.send(f"/rollouts/{rollout}/approve", why="It is quiet.", wave="2").status_code == 409
    visitor.boards.look()
    assert visitor.data(f"/rollouts/{rollout}")["rollout"]["wave"] == 2


def test_devices_are_let_go_by_name(visitor: Visitor) -> None:
    rollout = begun(visitor)
    one, other = members(visitor, rollout)
    assert (
        visitor.send(f"/rollouts/{rollout}/let-go", why="It is in repair.", devices=f"{one}, {other}").status_code
        == 303
    )
    assert set(visitor.boards.statuses(rollout).values()) == {"let-go"}


@pytest.mark.parametrize(
    ("command", "fields", "status"),
    [("pause", {}, 400), ("pause", {"why": " "}, 400), ("explode", {"why": "x"}, 400),
     ("approve", {"why": "x", "wave": "two"}, 400),
     ("approve", {"why": "x"}, 409), ("resume", {"why": "x"}, 409), ("let-go", {"why": "x"}, 400)],
)  # fmt: skip
def test_an_order_that_makes_no_sense_changes_nothing(
    visitor: Visitor, command: str, fields: dict[str, str], status: int
) -> None:
    rollout = begun(visitor)
    assert visitor.send(f"/rollouts/{rollout}/{command}", **fields).status_code == status
    assert visitor.data(f"/rollouts/{rollout}")["rollout"]["state"] == "running"


def test_who_may_only_look_is_offered_nothing_and_can_do_nothing(visitor: Visitor) -> None:
    rollout = begun(visitor)
    visitor.become("viewer")
    assert "What you can do" not in visitor.page(f"/rollouts/{rollout}")
    assert visitor.send(f"/rollouts/{rollout}/pause", why="x").status_code == 403
    assert visitor.data(f"/rollouts/{rollout}")["orders"] == []


@pytest.mark.parametrize("path", ["/rollouts/r99", "/rollouts/pi-1", "/rollouts/%3Cscript%3E"])
def test_one_that_is_not_there_is_not_found(visitor: Visitor, path: str) -> None:
    assert "<script>" not in visitor.page(path, status=404).partition("<body>")[2]


def test_what_people_wrote_is_shown_as_text(visitor: Visitor) -> None:
    rollout = begun(visitor, name="<b>bold</b>", comment="<script>alert(1)</script>")
    visitor.send(f"/rollouts/{rollout}/pause", why="<img src=x onerror=alert(1)>")
    page = visitor.page(f"/rollouts/{rollout}?status=<script>") + visitor.page("/rollouts")
    assert "<img src=x" not in page and "<script>alert" not in page and "<b>bold" not in page
    assert "&lt;img src=x" in page and "&lt;b&gt;bold" in page


def test_devices_are_filtered_by_status_and_paged(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = begun(visitor)
    done, _ = members(visitor, rollout)
    visitor.boards.answer(done)
    visitor.boards.look()
    found = visitor.data(f"/rollouts/{rollout}?status=committed")["rollout"]["devices"]
    assert [one["device"] for one in found] == [done]
    assert "No device of it is odd." in visitor.words(f"/rollouts/{rollout}?status=odd")
    monkeypatch.setattr("edgelift_fleet.console.pages.rollout_page.PAGE", 1)
    names, after = [], ""
    while True:
        data = visitor.data(f"/rollouts/{rollout}?after={after}")
        names += [one["device"] for one in data["rollout"]["devices"]]
        if not (after := data["after"]):
            break
    assert names == members(visitor, rollout)


def test_the_list_has_what_is_open_first_and_filters_in_its_address(visitor: Visitor) -> None:
    assert "No release has been rolled out yet." in visitor.words("/rollouts")
    first = begun(visitor, name="Friday")
    visitor.send(f"/rollouts/{first}/cancel", why="Wrong day")
    second = visitor.boards.start("digits@3", waves="1,100%")
    data, page = visitor.data("/rollouts"), visitor.page("/rollouts")
    assert [one["id"] for one in data["open"]] == [second] and [one["id"] for one in data["rollouts"]] == [first]
    assert page.index(f"/rollouts/{second}") < page.index(f"/rollouts/{first}") and '/pulse?lively=1"' in page
    for query, found in (("state=cancelled", [first]), ("state=open", [second]), ("name=Friday", [first]),
                         ("release=digits@3", [second]), ("release=digits@1", [])):  # fmt: skip
        assert [one["id"] for one in visitor.data(f"/rollouts?{query}")["rollouts"]] == found
    assert "No rollout is like that." in visitor.words("/rollouts?release=digits@1")
    for odd in ("state=odd", "release=%3Cb%3E", "after=r99"):
        assert (
            "<b>"
            not in visitor.page(f"/rollouts?{odd}", status=404 if "after" in odd else 400).partition("<body>")[2]
        )


# --- gates in words

PLAN = Plan((Wave(count=5), Wave(share=1.0)), soak_s=600.0)
P95 = LookContrast("latency p95", "arm64-neon", 0.31, 0.05, 20, 40, 0.0001, 0.22, 0.4)
ERRORS = LookContrast("error share", "", -0.001, 0.005, 20, 40, 0.6, -0.004, 0.0006)


def look(
    breach: bool = False, unmeasured: bool = False, contrasts: tuple[LookContrast, ...] = (P95, ERRORS)
) -> RolloutLook:
    return RolloutLook(
        1, 2, 5.0, breach, unmeasured, "x", LookFigures(6, 20, 20, 40, 40, 0.0001, 0.003, list(contrasts))
    )


def test_a_tile_says_the_difference_its_interval_what_is_allowed_on_whom_and_how_often_it_is_wrong() -> None:
    latency, errors, silence = tiles(PLAN, Watched(0.005, False, look(breach=True)), 5.0)
    assert (latency.word, latency.finding) == (
        "breach",
        "p95 on arm64-neon +31.0 % (+22.0 to +40.0), allowed +5 %",
    )
    assert latency.counted == "20 boards against 40 controls"
    assert latency.rate == "False alarm at most 1 in 100 over the whole rollout, 1 in 200 for this wave."
    assert (errors.word, errors.finding) == (
        "allowed",
        "error share −0.1 points (−0.4 to +0.1), allowed +0.5 points",
    )
    assert (silence.word, silence.contrast) == ("unmeasured", None)


@pytest.mark.parametrize(
    ("watched", "word", "words"),
    [
        (Watched(), "none", "The wave has not begun."),
        (Watched(0.0, False, None, "no stated false-alarm rate: no control is left."), "none", "no control is left"),
        (Watched(0.005, True, look(breach=True)), "none", "A person went on with this wave in spite of its gate."),
        (Watched(0.005, False, None, "", "First look at 02:00 UTC."), "waiting", "First look at 02:00 UTC."),
        (Watched(0.005, False, look(unmeasured=True)), "unmeasured", "it pauses, and whoever resumes it goes on without"),
    ],
)  # fmt: skip
def test_a_gate_that_shows_nothing_says_why_and_what_follows(watched: Watched, word: str, words: str) -> None:
    tile = tiles(PLAN, watched, 5.0)[0]
    assert tile.word == word and words in tile.note


@pytest.mark.parametrize("shift", [-0.9, -0.01, 0.0, 0.05, 9.0])
@pytest.mark.parametrize("ends", [(None, None), (-1e9, 1e9), (-0.02, 0.06)])
def test_all_that_is_drawn_lies_within_the_picture(shift: float, ends: tuple[float | None, float | None]) -> None:
    made = picture(LookContrast("error share", "", shift, 0.0, 5, 9, 0.5, *ends))
    places = [made.zero, made.allowed, made.dot, *(end for end in (made.low, made.high) if end is not None)]
    assert all(0 < place < WIDTH for place in places)


def test_a_gates_verdict_names_the_worst_comparison(visitor: Visitor) -> None:
    rollout = begun(visitor)
    view = visitor.boards.show(rollout)
    event = msgspec.structs.replace(
        view.events[-1], kind="rolling-back", text="The gate of wave 1 found it.", who=""
    )
    ended = msgspec.structs.replace(
        view, state="rolled-back", looks=[look(breach=True)], events=[event], counts={"restored": 2}
    )
    assert ": latency p95 +31.0 % (+22.0 to +40.0) on arm64-neon, allowed +5 %; 2 of 5" in verdict(
        ended, {"digits@1"}
    )
