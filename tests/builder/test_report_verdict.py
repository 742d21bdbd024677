"""The verdict in words: what ships first and what that brings, what ships though beaten, what to type next."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelift_builder.report import page, pictures, verdict
from edgelift_builder.report.labels import Box, place, runs
from edgelift_builder.report.pictures import Dot
from edgelift_builder.report.report import BuildReport, CandidateReport
from tests.builder.report_cases import candidate, detector, long_names, measured, rejected, report, twenty

pytestmark = pytest.mark.builder


def said(*candidates: CandidateReport) -> str:
    (group,) = verdict.groups(report(*candidates))
    return verdict.sentence(group)


def test_what_ships_first_unmeasured() -> None:
    assert said(candidate(), candidate("float32", rank=1)) == (
        "rpi4: int8-static through LiteRT ships first by the target's order: 3.9 × smaller, 0.1 points lost; "
        "speed unmeasured on this class"
    )


def test_what_ships_first_as_measured() -> None:
    first = measured("int8-static", 39.2, 2.51, loss=-0.083)
    assert said(first, measured("float32", 98.0, 1.0, rank=1)) == (
        "x86-64-vnni: int8-static through LiteRT ships first as the fastest measured: 3.9 × smaller, 0.1 points gained, "
        "2.51 × as fast, 39 µs an inference"
    )


def test_float_that_ships_alone() -> None:
    alone = candidate("float32", "onnxruntime", size_ratio=1.0, loss=0.0)
    assert said(alone, rejected("int8-static")) == (
        "rpi4: float32 through ONNX Runtime ships alone: the size of float, 0.0 points lost; speed unmeasured on this class"
    )


def test_an_error_is_told_in_per_cent_and_a_larger_one_as_larger() -> None:
    percent = {"unit": "percent", "metric": "MAE"}
    assert "2.0 × larger, MAE 1.1 % worse;" in said(candidate(size_ratio=0.5, loss=1.14, **percent))
    assert "MAE 0.8 % better;" in said(candidate(loss=-0.84, **percent))


def test_what_was_accepted_is_told_so() -> None:
    accepted = candidate(code="accuracy-over-budget", reason="It loses much.")
    assert said(accepted).endswith("; it ships although a gate refused it (accuracy-over-budget)")


def test_where_nothing_ships_the_codes_are_counted() -> None:
    codes = ("not-enough-data", "not-enough-data", "conversion-failed")
    assert said(*(rejected("int8-static", code) for code in codes)) == (
        "rpi4: nothing ships: all 3 candidates were rejected (2 not-enough-data, 1 conversion-failed)"
    )
    assert said(rejected("x", "no-gain")) == "rpi4: nothing ships: the one candidate was rejected (1 no-gain)"
    (empty,) = verdict.groups(report(targets=["rpi4"]))
    assert verdict.sentence(empty) == "rpi4: nothing ships: nothing was made for it"


def test_boards_that_get_the_same_are_told_of_once() -> None:
    alike = [candidate(target=target) for target in ("rpi3", "rpi4")]
    other = candidate(target="rpi-zero2w", artifact="cd" * 32)
    assert [g.targets for g in verdict.groups(report(*alike, other))] == [("rpi3", "rpi4"), ("rpi-zero2w",)]
    text = page.render(report(*alike, other))
    assert text.count("Size and accuracy</figcaption>") == 2 and "<strong>rpi3, rpi4</strong>" in text


def test_why_one_ships_that_another_beats() -> None:
    first = candidate(pareto=False, size_bytes=326_000)
    better = candidate("int8-stored", rank=1, size_bytes=322_000)
    third = candidate("float32", rank=2, pareto=False, size_bytes=1_300_000, loss=0.2)
    assert verdict.beaten_by(first, [first, better, third]) == better
    assert verdict.why_beaten_ships(first, better) == (
        "int8-stored through LiteRT is nowhere worse and smaller by 1.2 %; yet the target's order goes by what an artifact "
        "computes in and by its runtime, until a device of this class has timed them."
    )
    assert verdict.beaten_by(third, [first, better, third]) == first
    assert verdict.why_beaten_ships(third, first) == (
        "int8-static through LiteRT is nowhere worse and smaller by 74.9 % and better by 0.10 points of accuracy, and "
        "stands before it."
    )
    timed = [measured("a", 30.0, 2.0, pareto=False), measured("b", 30.3, 2.0, rank=1, size_bytes=300_000)]
    assert "leads by less than such times repeat" in verdict.why_beaten_ships(*timed)
    assert verdict.beaten_by(better, [first, better]) is None  # in the Pareto set
    assert verdict.beaten_by(rejected("x"), [first]) is None


def test_what_to_type_next() -> None:
    whole = verdict.next_steps(report(candidate()))
    assert [step.command for step in whole] == [
        "edgelift publish releases/digits@1",
        "edgelift rollout start digits@1 --dry-run --to all",
    ]
    assert verdict.next_steps(report(candidate()), "a folder/x")[0].command == "edgelift publish 'a folder/x'"
    (again,) = verdict.next_steps(report(rejected("int8-static"), source="my model.py:f"))
    assert again.command == "edgelift build 'my model.py:f' -t rpi4 --accept --force"
    assert verdict.next_steps(report(rejected("x", "conversion-failed", size_bytes=0))) == []


@pytest.mark.parametrize("made", [twenty(), detector(), long_names()], ids=["twenty", "detector", "long names"])
def test_a_candidate_has_the_same_sign_in_picture_and_table(made: BuildReport) -> None:
    text = page.render(made)
    drawn = {
        (number, kind, "ring" in whole)
        for number, whole, kind in re.findall(
            r'<g><title>(\d+)  [^<]*</title>(<g class="sign (\w+)".*?</g>)</g>', text, re.DOTALL
        )
    }
    rows = {
        (number, kind, "ring" in whole)
        for number, whole, kind in re.findall(
            r'<tr><td class="n">(\d+)</td><td><span class="outcome">.*?(<g class="sign (\w+)".*?</g>)</svg>',
            text,
            re.DOTALL,
        )
    }
    assert drawn and drawn <= rows and len(rows) == len({number for number, _, _ in rows})
    words = set(re.findall(r"<li><svg[^>]*>.*?sign (\w+)\".*?</svg> <span>", text))
    assert {kind for _, kind, _ in rows} <= words  # each is in a key, with its word


def apart(drawn: pictures.Scatter) -> None:
    """No label covers another, the budget's word, or leaves the picture; and each dot has one."""
    boxes = [one.box for one in drawn.labels] + ([drawn.budget] if drawn.budget else [])
    for number, box in enumerate(boxes):
        assert box.left >= 0 and box.right <= drawn.width and drawn.top <= box.top and box.bottom <= drawn.bottom
        beside = Box(box.left - 4, box.top, box.right + 4, box.bottom)  # else two are read as one
        assert not any(beside.meets(other) for other in boxes[:number])
    assert sorted(i for one in drawn.labels for i in one.marks) == list(range(len(drawn.marks)))


_SHARES = st.floats(0.0, 1.0)


@settings(max_examples=30)
@given(st.lists(st.tuples(_SHARES, _SHARES), min_size=1, max_size=24), st.sampled_from([0.01, 1.0, 1e4]))
def test_no_label_covers_another(places: list[tuple[float, float]], scale: float) -> None:
    dots = [
        Dot(n, "x", (x + 0.01) * scale, -y * scale, -y * scale - 0.1, -y * scale + 0.1, "ships", n % 3 == 0)
        for n, (x, y) in enumerate(places, 1)
    ]
    drawn = pictures.scatter("t", "x", "y", dots, -0.5 * scale)
    apart(drawn)
    for mark in drawn.marks:  # nor does a mark cover what is written at the axes
        assert drawn.left + 9.5 <= mark.cx <= drawn.width - 9.5 and mark.cy <= drawn.bottom - 5


def test_twenty_at_one_place_share_a_label() -> None:
    (label,) = place(range(1, 21), [(50.0, 50.0)] * 20, Box(0, 0, 200, 100))
    assert label.text == "1–20" and label.leader is None
    assert runs([9, 1, 2, 4, 5, 6]) == "1, 2, 4–6, 9"


def test_a_picture_of_twenty_candidates_is_read_without_a_guess() -> None:
    made = twenty()
    (group,) = verdict.groups(made)
    numbered = [(n, c, group.name) for n, c in enumerate(group.candidates, 1)]
    for drawn in page._pictures(made, numbered):
        apart(drawn)
