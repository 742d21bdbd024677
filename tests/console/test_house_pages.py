"""Audit, people and system: what they show, what their forms change, and who may."""

from __future__ import annotations

import re

import pytest

from edgelift_contract.errors import ContractError
from edgelift_fleet.console.pages.people_page import make_token, order_person, tags_of
from tests.console.visiting import Visitor

PASSWORD = "a long one, and easy to remember"


def test_a_person_is_added_changed_and_removed_and_the_log_says_why(visitor: Visitor) -> None:
    added = visitor.send("/people/add", name="bert", role="viewer", password=PASSWORD, why="He watches at night")
    assert added.status_code == 303 and added.headers["location"] == "/people"
    for doing, more, state in (
        ("role", {"role": "operator"}, "may log in"), ("disable", {}, "shut out"), ("enable", {}, "may log in")
    ):  # fmt: skip
        assert visitor.send(f"/people/by-name/bert/{doing}", why="As agreed", **more).status_code == 303
        assert state in visitor.words("/people")
    assert visitor.data("/people")["people"][0]["role"] == "operator"
    assert visitor.send("/people/by-name/bert/remove", why="He left").status_code == 303
    assert visitor.data("/people")["people"] == []
    log = visitor.data("/audit")["entries"]
    assert [one["why"] for one in log[:1]] == ["He left"] and {one["outcome"] for one in log} == {"done"}
    words = visitor.words("/audit")
    assert "He watches at night" in words and PASSWORD not in words


@pytest.mark.parametrize("path", ["/people/access/make", "/people/tokens/make"])
def test_a_secret_is_shown_once(visitor: Visitor, path: str) -> None:
    made = visitor.send(
        path, role="viewer", uses="3", days="2", tags="site=hall-2", note="n", why="For the dashboard"
    )
    secret = re.search(r"<code>([^<]{20,})</code></pre>", made.text)
    assert made.status_code == 200 and secret is not None
    assert secret[1] not in visitor.page("/people") and secret[1] not in visitor.page("/audit")


def test_tokens_are_taken_back(visitor: Visitor) -> None:
    visitor.send("/people/tokens/make", uses="1", days="1", why="w")
    visitor.send("/people/access/make", role="viewer", days="1", note="scraper", why="w")
    data = visitor.data("/people")
    mine = next(one for one in data["access"] if one["note"] == "scraper")
    assert visitor.send(f"/people/tokens/{data['tokens'][0]['id']}/revoke", why="lost").status_code == 303
    assert visitor.send(f"/people/access/{mine['id']}/revoke", why="lost").status_code == 303
    data = visitor.data("/people")
    assert data["tokens"][0]["state"] == "revoked"
    assert next(one for one in data["access"] if one["id"] == mine["id"])["state"] == "revoked"


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_only_admins_see_people_and_the_log(visitor: Visitor, role: str) -> None:
    visitor.become(role)  # type: ignore[arg-type]  # one of them
    nav = visitor.page("/")
    assert 'href="/people"' not in nav and 'href="/system"' in nav
    for path in ("/people", "/audit"):
        assert "role-too-low" in visitor.page(path, status=403)
    refused = visitor.send("/people/add", name="eve", role="admin", password=PASSWORD, why="w")
    assert refused.status_code == 403 and "role-too-low" in refused.text


@pytest.mark.parametrize(
    ("path", "fields", "code"),
    [("/people/add", {"name": "x y", "role": "viewer", "password": PASSWORD}, "malformed"),
     ("/people/add", {"name": "bert", "role": "king", "password": PASSWORD}, "malformed"),
     ("/people/add", {"name": "bert", "role": "viewer", "password": "short"}, "malformed"),
     ("/people/by-name/nobody/role", {"role": "viewer"}, "not-found"), ("/people/by-name/a%2Fb/disable", {}, "not-found"),
     ("/people/tokens/make", {"uses": "many"}, "malformed"), ("/people/tokens/make", {"uses": "1.5"}, "malformed"),
     ("/people/tokens/make", {"uses": "nan"}, "malformed"), ("/people/tokens/make", {"days": "1e99"}, "malformed"),
     ("/people/access/none/revoke", {}, "not-found")],
)  # fmt: skip
def test_what_is_wrong_is_said_and_nothing_is_changed(
    visitor: Visitor, path: str, fields: dict[str, str], code: str
) -> None:
    refused = visitor.send(path, why="w", **fields)
    assert 400 <= refused.status_code < 500, refused.text
    assert "Nothing was changed" in refused.text and "<h1" in refused.text
    assert code in refused.text or "bad-id" in refused.text
    assert visitor.data("/people")["people"] == [] and visitor.data("/people")["tokens"] == []


def test_a_word_that_is_no_order_is_none() -> None:
    with pytest.raises(ContractError):
        order_person({"person": "ada", "doing": "promote"}, {})
    assert tags_of("a=b=c, d,, e = f") == {"a": "b=c", "d": "", "e": "f"}
    assert make_token({}, {"uses": "2", "tags": "x"}).body.uses == 2


def test_the_system_says_how_it_is(visitor: Visitor) -> None:
    data = visitor.data("/system")
    names = [one["name"] for one in data["checks"]]
    assert {"Database", "Broker", "Leader", "Disk", "Connections", "Queue", "Blobs", "Signing"} <= set(names)
    words = visitor.words("/system")
    assert "all devices poll over HTTP" in words and "this site signs nothing" in words


def test_a_page_that_is_not_there_says_so(visitor: Visitor) -> None:
    assert "That page isn’t here" in visitor.words("/none/such", status=404)
    assert visitor.http.get("/none/such", headers={"Accept": "application/json"}).json()["code"] == "not-found"
