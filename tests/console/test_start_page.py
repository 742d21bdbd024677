"""A rollout is started from its release's page: first what it would do, then the button that does just that."""

from __future__ import annotations

import html
import re

import pytest

from edgelift_contract.errors import ContractError
from edgelift_fleet.console.pages.start_fields import request_of, typed
from edgelift_fleet.messages import RolloutRequest
from tests.console.visiting import Visitor
from tests.fleet.direct import ready

AT = "/releases/digits/2/start"


def hidden(page: str) -> dict[str, str]:
    """The hidden fields of the page's form."""
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page)
    return {name: html.unescape(value) for name, value in found}


def test_before_anything_is_asked_it_is_a_form(visitor: Visitor) -> None:
    page = visitor.page(AT)
    assert 'name="to"' in page and 'value="1,25%,100%"' in page and 'method="post" action="/releases' not in page


def test_what_was_shown_is_what_is_started(visitor: Visitor) -> None:
    ready(visitor.boards, "pi-1", "pi-2", "pi-3")
    page = visitor.page(f"{AT}?to=all&waves=1,100%25&soak=10m&approval=yes&name=Smaller")
    assert "Start it on 3 devices" in page and not visitor.fleet.rollouts.list().items
    fields = hidden(page)
    sent = visitor.send(AT, **fields, why="It is smaller")
    assert (sent.status_code, sent.headers["location"]) == (303, "/rollouts/r1")
    assert (
        visitor.send(AT, **fields, why="It is smaller").headers["location"] == "/rollouts/r1"
    )  # the same form twice
    made = visitor.fleet.rollouts.show("r1")
    assert (made.waves, made.soak_s, made.name, made.plan.approval) == (["1", "100%"], 600.0, "Smaller", True)
    assert str(made.seed) == fields["seed"] and made.plan.comment == "It is smaller"
    assert len(visitor.fleet.rollouts.list().items) == 1


def test_it_says_who_is_away_unsuited_or_elsewhere_and_refuses_what_cannot_be(visitor: Visitor) -> None:
    ready(visitor.boards, "pi-1", "pi-2")
    visitor.boards.go("pi-2")
    other = visitor.boards.start("digits@3", to="id:pi-1", waves="100%")
    visitor.boards.look()
    words = visitor.words(f"{AT}?to=all&waves=100%25")
    assert "not there now" in words and f"pi-1 ({other})" in words
    assert "It can’t be started" in words and f"edgelift rollout cancel {other}" in words
    assert "Start it on" not in words


@pytest.mark.parametrize(
    ("query", "told"),
    [("to=tag:(", ""), ("to=all&waves=x", "x"), ("to=all&waves=", "(none)"), ("to=&waves=100%25", ""),
     ("to=all&soak=long", "soak: "), ("to=all&min_requests=-3", "min_requests: "), ("to=all&max_failures=many", "many"),
     ("to=all&on_breach=explode", "on_breach"), ("to=all&seed=abc", "seed: "), ("to=all&windows=never", "never"),
     ("to=all&concurrency=99999999999999999999", "concurrency: "), ("to=all&probation=2h", "deadline")],
)  # fmt: skip
def test_odd_input_is_told_beside_the_form_and_kept(visitor: Visitor, query: str, told: str) -> None:
    visitor.boards.add("pi-1")
    page = visitor.page(f"{AT}?{query}&name=<b>Mine</b>")
    data = visitor.data(f"{AT}?{query}")
    assert data["problem"]["code"] and told in data["problem"]["error"] and data["preview"] is None
    assert 'role="alert"' in page and "&lt;b&gt;Mine&lt;/b&gt;" in page and "Start it on" not in page


def test_who_only_looks_sees_the_dry_run_and_no_button(visitor: Visitor) -> None:
    ready(visitor.boards, "pi-1")
    visitor.become("viewer")
    assert "An operator or an admin can start it." in visitor.words(f"{AT}?to=all")
    assert visitor.send(AT, to="all", waves="100%", why="x").status_code == 403
    assert not visitor.fleet.rollouts.list().items


def test_a_retired_release_is_told_not_started(visitor: Visitor) -> None:
    visitor.boards.add("pi-1")
    visitor.send("/releases/digits/2/retire", why="Old")
    assert visitor.data(f"{AT}?to=all")["problem"]["code"] == "retired"


def test_fields_without_a_word_mean_what_the_command_means_without_options() -> None:
    asked = request_of("digits@2", typed({"to": "all"}))
    assert asked == RolloutRequest(release="digits@2", to="all", waves=["1", "25%", "100%"], max_failures="0")
    assert (
        typed({"to": "all"})["approval"] == ""
        and request_of("d@1", typed({"to": "a", "approval": "yes"})).approval
    )


def test_a_field_that_is_no_number_names_itself() -> None:
    with pytest.raises(ContractError, match="retries"):
        request_of("digits@2", typed({"to": "all", "retries": "two"}))
