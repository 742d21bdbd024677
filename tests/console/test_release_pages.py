"""Releases and one release as pages: what there is, where it runs, what was measured where, and what can be done with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgelift_contract.manifest import TensorSpec
from edgelift_contract.meaning import TensorMeaning
from edgelift_contract.report import DeviceFacts
from edgelift_fleet.console.kinds import FormOrder
from edgelift_fleet.paging import Wish
from edgelift_fleet.people.audit import list_audit
from tests.console.visiting import Visitor
from tests.fleet.direct import FACTS, ready, settle
from tests.fleet.told import TOLD, bring

NONE_FIT = DeviceFacts("riscv64", ["riscv64"], {"onnxruntime": "1.30.0"})


def test_the_list_says_state_and_how_many_serve_each(visitor: Visitor) -> None:
    ready(visitor.boards, "pi-1", "pi-2")
    rollout = visitor.boards.start("digits@2", waves="1,100%")
    visitor.send("/releases/digits/3/retire", why="Too slow")
    lines = visitor.data("/releases")["releases"]
    assert [(one["release"], one["state"], one["running"]) for one in lines] == [
        ("digits@3", "retired", 0), ("digits@2", "running", 0), ("digits@1", "serving", 2),
    ]  # fmt: skip
    page = visitor.page("/releases")
    assert f'href="/rollouts/{rollout}"' in page and 'href="/releases/digits/1"' in page
    assert 'href="/?release=digits%401#devices"' in page and "Too slow" in page


@pytest.mark.parametrize(
    ("query", "found"),
    [("", ["3", "2", "1"]), ("?retired=true", ["3"]), ("?retired=false", ["2", "1"]), ("?name=digits", ["3", "2", "1"]),
     ("?name=none", []), ("?after=digits@2", ["1"]), ("?retired=perhaps", ["3", "2", "1"])],
)  # fmt: skip
def test_filters_of_the_list_stand_in_the_address(visitor: Visitor, query: str, found: list[str]) -> None:
    visitor.send("/releases/digits/3/retire", why="Old")
    assert [one["release"].partition("@")[2] for one in visitor.data(f"/releases{query}")["releases"]] == found
    visitor.page(f"/releases{query}")


def test_where_it_runs_and_what_is_to_come(visitor: Visitor) -> None:
    ready(visitor.boards, "pi-1")
    visitor.boards.add("pi-2", "pi-3")
    visitor.boards.add("odd-1", facts=NONE_FIT)
    data = visitor.data("/releases/digits/1")
    size = data["detail"]["release"]["artifacts"][0]["size_bytes"]
    lines = [
        (one["hardware_class"], one["devices"], one["running"], one["bytes_to_come"]) for one in data["reach"]
    ]
    assert lines == [(FACTS.hardware_class, 3, 1, 2 * size), ("riscv64", 1, 0, 0)]
    assert (data["running"], data["left"], data["bytes_to_come"]) == (1, 2, 2 * size)
    words = visitor.words("/releases/digits/1")
    assert "1 device runs it" in words and "Speed unmeasured on this class." in words
    assert "This site signs nothing" in words and "1 golden" in words and "test#0" in words


def test_what_went_wrong_and_past_rollouts_with_their_reasons(visitor: Visitor) -> None:
    ready(visitor.boards, "pi-1", "pi-2")
    rollout = visitor.boards.start("digits@2", name="Smaller")
    visitor.boards.look()
    bad = next(iter(visitor.boards.statuses(rollout)))
    visitor.boards.answer(bad, outcome="refused")
    settle(visitor.boards, rollout, "pi-1", "pi-2")
    data = visitor.data("/releases/digits/2")
    assert [(one["code"], one["outcome"], one["devices"]) for one in data["failures"]] == [
        ("golden-mismatch", "refused", [bad])
    ]
    assert [one["id"] for one in data["rollouts"]] == [rollout] and data["open"] == []
    words = visitor.words("/releases/digits/2")
    assert "golden-mismatch" in words and "Smaller" in words and data["rollouts"][0]["reason"] in words


def test_a_release_is_retired_and_given_out_again_with_a_reason(visitor: Visitor) -> None:
    sent = visitor.send("/releases/digits/2/retire", why="It drifts")
    assert (sent.status_code, sent.headers["location"]) == (303, "/releases/digits/2")
    page = visitor.page("/releases/digits/2")
    assert "It drifts" in page and "Start a rollout" not in page and "/releases/digits/2/unretire" in page
    visitor.send("/releases/digits/2/unretire", why="It serves again")
    assert visitor.data("/releases/digits/2")["state"] == "published"
    with visitor.fleet.db.read() as session:
        whys = {one.why for one in list_audit(session, "", 0.0, Wish(50)).items}
    assert {"It drifts", "It serves again"} <= whys


def test_one_that_is_being_rolled_out_cannot_be_retired(visitor: Visitor) -> None:
    ready(visitor.boards, "pi-1")
    rollout = visitor.boards.start("digits@2")
    words = visitor.words("/releases/digits/2")
    assert f"It can’t be retired while {rollout} gives it out." in words
    assert visitor.send("/releases/digits/2/retire", why="x").status_code == 409


def test_who_only_looks_is_offered_nothing_and_may_do_nothing(visitor: Visitor) -> None:
    visitor.become("viewer")
    page = visitor.page("/releases/digits/1")
    assert "Retire" not in page and "/start" not in page
    assert visitor.send("/releases/digits/1/retire", why="x").status_code == 403
    assert not visitor.data("/releases/digits/1")["detail"]["release"]["retired_at"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/releases/digits/9", 404), ("/releases/none/1", 404), ("/releases/%3Cb%3E/1", 400), ("/releases/digits/9/start", 404),
     ("/releases?name=%3Cscript%3E", 400), ("/releases?after=nothing", 400), ("/releases?after=digits@9", 400)],
)  # fmt: skip
def test_what_is_not_there_is_told(visitor: Visitor, path: str, status: int) -> None:
    assert "<script>a" not in visitor.page(path, status)


def test_reasons_that_are_html_are_shown_as_text(visitor: Visitor) -> None:
    visitor.send("/releases/digits/2/retire", why="<script>alert(1)</script>")
    for path in ("/releases", "/releases/digits/2"):
        page = visitor.page(path)
        assert "<script>alert" not in page and "&lt;script&gt;alert" in page


def test_an_order_may_lead_to_what_was_answered() -> None:
    order = FormOrder("POST", "/v1/rollouts", None, "/rollouts/{id}")
    assert order.asks_answer and order.leads_to({"id": "r7/../x"}) == "/rollouts/r7%2F..%2Fx"
    assert not FormOrder("POST", "/v1/x", None, "/x").asks_answer


def test_what_its_numbers_mean_is_shown_as_text(visitor: Visitor, tmp_path: Path) -> None:
    assert visitor.data("/releases/digits/1")["told"] == []
    assert "What its numbers mean" not in visitor.page("/releases/digits/1")
    bring(visitor.fleet.site.folder, tmp_path / "r", **TOLD)
    (told,) = visitor.data("/releases/digits/9")["told"]
    assert [(line["side"], line["name"]) for line in told["tensors"]] == [("input", "x"), ("output", "y")]
    assert dict(told["metadata"]) == {
        "camera": "no�rth <b>", "threshold": "0.25", "year": "2026", "colour": "false"
    }  # fmt: skip
    page = visitor.page("/releases/digits/9")
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page and "\u202e" not in page
    words = visitor.words("/releases/digits/9")
    assert "real = number × scale + offset: scale 0.5, offset -40; in °C" in words and "Löwe 猫" in words


def test_of_very_many_names_a_page_lists_the_first(visitor: Visitor, tmp_path: Path) -> None:
    spec = TensorSpec("y", "FP32", [-1, 21_841], TensorMeaning(labels=[f"n{n}" for n in range(21_841)], axis=1))
    bring(visitor.fleet.site.folder, tmp_path / "r", outputs=[spec])
    words = visitor.words("/releases/digits/9")
    assert "All 21,841 names" in words and "n999 and 20,841 more" in words and len(words) < 20_000
