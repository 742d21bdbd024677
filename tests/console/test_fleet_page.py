"""The front page: what needs a person first, counts that are links, a line for each device, and where nothing is yet."""

from __future__ import annotations

import time

import pytest

from edgelift_contract import codec
from edgelift_contract.telemetry import Batch, Gauges, Item
from edgelift_fleet.alerts.silences import silence
from edgelift_fleet.db import SITE
from edgelift_fleet.intake import Message
from edgelift_fleet.messages.alerts import SilenceRequest
from tests.console.visiting import Visitor
from tests.fleet.direct import ready, settle


def test_before_the_first_board_it_shows_the_three_commands(visitor: Visitor) -> None:
    words = visitor.words("/")
    for command in ("edgelift token create", "edgelift-agent enroll", "edgelift-agent run"):
        assert command in words
    assert 'href="/people#make-token"' in visitor.page("/")
    visitor.become("operator")
    assert "/people" not in visitor.page("/")


def test_it_says_what_runs_where_and_what_needs_somebody(visitor: Visitor) -> None:
    ready(visitor.boards, "pi-1", "pi-2", "pi-3")
    visitor.boards.go("pi-3")
    visitor.boards.assignments.assign("pi-2", "digits@2")
    visitor.boards.answer("pi-2", outcome="refused")
    data = visitor.data("/")
    assert [(need["code"], need["first"]) for need in data["needs"]] == [
        ("failing", ["pi-2"]),
        ("offline", ["pi-3"]),
    ]
    assert data["all"]["by_release"] == {"digits@1": 3} and data["total"] == 3
    page = visitor.page("/")
    assert 'href="/?trouble=offline#devices"' in page and 'href="/devices/pi-2"' in page
    assert "could not take what it should run" in page and "digits@2" in page


@pytest.mark.parametrize(
    ("query", "found"),
    [("?trouble=offline", ["pi-3"]), ("?online=true", ["pi-1", "pi-2"]), ("?to=pi-2", ["pi-2"]),
     ("?release=digits@1", ["pi-1"]),
     ("?trouble=none-such", ["pi-1", "pi-2", "pi-3"]), ("?online=perhaps", ["pi-1", "pi-2", "pi-3"])],
)  # fmt: skip
def test_filters_stand_in_the_address(visitor: Visitor, query: str, found: list[str]) -> None:
    ready(visitor.boards, "pi-1")
    visitor.boards.add("pi-2", "pi-3")
    visitor.boards.go("pi-3")
    assert [one["device"] for one in visitor.data(f"/{query}")["devices"]] == found


def test_a_page_that_is_refreshed_is_the_same_part_alone(visitor: Visitor) -> None:
    visitor.boards.add("pi-1")
    whole, part = visitor.page("/"), visitor.http.get("/?partial=1")
    assert "<html" in whole and "<html" not in part.text and "pi-1" in part.text
    again = visitor.http.get("/?partial=1", headers={"If-None-Match": part.headers["etag"]})
    assert again.status_code == 304 and not again.content


def test_a_rollout_that_waits_for_a_person_comes_first(visitor: Visitor) -> None:
    ready(visitor.boards, "a", "b", "c")
    visitor.boards.go("c")
    rollout = visitor.boards.start("digits@2", "1,100%", approval=True, gates=[])
    settle(visitor.boards, rollout, "a", "b")
    first, second = visitor.data("/")["needs"]
    assert (first["code"], first["about"], first["first"]) == ("needs-approval", "rollout", [rollout])
    assert first["do"] == f"Look at it, then approve the wave: edgelift rollout approve {rollout}."
    assert second["code"] == "offline"
    page = visitor.page("/")
    assert f'<a href="/rollouts/{rollout}">The rollout {rollout} waits for a person' in page


def test_what_is_silenced_says_until_when_and_comes_last(visitor: Visitor) -> None:
    visitor.boards.add("pi-1", "pi-2", "pi-3")
    heat(visitor, "pi-1", "pi-2")
    visitor.boards.go("pi-3")
    hush(visitor, "offline", "ids:pi-3")
    hush(visitor, "hot", "ids:pi-2")
    hot, offline = visitor.data("/")["needs"]
    assert (hot["code"], hot["count"], hot["silenced"], hot["until"]) == ("hot", 2, 1, 0.0)
    assert (offline["code"], offline["silenced"], offline["until"] > time.time()) == ("offline", 1, True)
    words = visitor.words("/")
    assert "1 of them silenced" in words and "silenced until 20" in words
    assert "silenced until 20" in visitor.words("/devices/pi-3")


def heat(visitor: Visitor, *names: str) -> None:
    """These boards say that they are hot."""
    now = time.time()
    gauges = Gauges(start=now - 60, end=now, values={"soc_temp_c": 85.0})
    for name in names:
        batch = Batch(schema=1, device=name, epoch="o", items=[Item(1, gauges=gauges)])
        visitor.boards.take(Message("telemetry", name, codec.canonical_json(batch), "mqtt"))


def hush(visitor: Visitor, code: str, of: str) -> None:
    """Nobody is told of it for an hour."""
    with visitor.fleet.db.write(SITE) as session:
        silence(session, SilenceRequest(code, 3600, of), "ada", time.time())


def test_names_that_are_html_are_shown_as_text(visitor: Visitor) -> None:
    visitor.boards.add("pi-1", hall="<script>alert(1)</script>")
    page = visitor.page("/?to=<script>alert(1)</script>", status=400)
    assert "<script>alert" not in page and "&lt;script&gt;" in page
