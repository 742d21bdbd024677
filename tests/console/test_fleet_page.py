"""The front page: what needs a person first, counts that are links, a line for each device, and where nothing is yet."""

from __future__ import annotations

import pytest

from edgelift_fleet.needs import judge_gauges
from tests.console.visiting import Visitor
from tests.fleet.direct import ready


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


def test_names_that_are_html_are_shown_as_text(visitor: Visitor) -> None:
    visitor.boards.add("pi-1", hall="<script>alert(1)</script>")
    page = visitor.page("/?to=<script>alert(1)</script>", status=400)
    assert "<script>alert" not in page and "&lt;script&gt;" in page


@pytest.mark.parametrize(
    ("values", "codes"),
    [({"soc_temp_c": 79.9}, []), ({"soc_temp_c": 80.0}, ["hot"]), ({"cpu_temp_c": 40, "gpu_temp_c": 91}, ["hot"]),
     ({"throttled": 1.0}, ["throttled"]), ({"under_voltage": 1, "soc_temp_c": 85}, ["under-voltage", "hot"]),
     ({"disk_free_bytes": 1e6}, ["disk-low"]), ({"throttled": 0.0, "disk_free_bytes": 9e9}, []), ({}, [])],
)  # fmt: skip
def test_gauges_are_judged(values: dict[str, float], codes: list[str]) -> None:
    assert list(judge_gauges(values)) == codes
