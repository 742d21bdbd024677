"""Who may look: logging in, sessions that end, forms of other sites, and what the headers of every page say."""

from __future__ import annotations

from typing import Any

import pytest

from edgelift_contract.errors import ContractError
from edgelift_fleet.console.entry import own_path
from edgelift_fleet.console.session import judge_origin
from edgelift_fleet.messages.people import PersonRequest
from tests.console.visiting import Visitor

PASSWORD = "a long one, and easy to remember"


def enter(visitor: Visitor, password: str = PASSWORD, **headers: str) -> Any:
    visitor.http.headers.pop("Cookie", None)
    fields = {"name": "ada", "password": password, "then": "/?online=true"}
    return visitor.http.post("/login", data=fields, headers=headers)


@pytest.fixture
def ada(visitor: Visitor) -> Visitor:
    visitor.fleet.people.add(PersonRequest("ada", "operator", PASSWORD))
    return visitor


def test_somebody_logs_in_looks_and_logs_out(ada: Visitor) -> None:
    asked = ada.http.get("/?online=true", headers={"Cookie": ""})
    assert asked.status_code == 303 and asked.headers["location"] == "/login?then=%2F%3Fonline%3Dtrue"
    entered = enter(ada)
    assert entered.status_code == 303 and entered.headers["location"] == "/?online=true"
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Path=/" in cookie
    ada.http.headers["Cookie"] = cookie.partition(";")[0]
    assert "ada" in ada.page("/")
    assert ada.send("/logout").status_code == 303
    assert ada.http.get("/").headers["location"] == "/login"


def test_a_wrong_password_is_told_and_the_name_is_kept(ada: Visitor) -> None:
    refused = enter(ada, "wrong one, all of it")
    assert refused.status_code == 401 and 'value="ada"' in refused.text and "set-cookie" not in refused.headers


def test_a_form_of_another_site_does_nothing(ada: Visitor) -> None:
    assert enter(ada, **{"Sec-Fetch-Site": "cross-site"}).status_code == 400
    assert enter(ada, Origin="https://elsewhere.example").status_code == 400


@pytest.mark.parametrize(
    ("headers", "own"),
    [({"sec-fetch-site": "same-origin"}, True), ({"sec-fetch-site": "none"}, True),
     ({"sec-fetch-site": "same-site"}, False),
     ({"sec-fetch-site": "cross-site"}, False), ({"origin": "https://a:1", "host": "a:1"}, True),
     ({"origin": "null"}, False),
     ({"origin": "https://a:2", "host": "a:1"}, False), ({}, True),
     ({"sec-fetch-site": "cross-site", "origin": "https://a:1", "host": "a:1"}, False)],
)  # fmt: skip
def test_where_a_form_comes_from(headers: dict[str, str], own: bool) -> None:
    if own:
        judge_origin(headers)
    else:
        with pytest.raises(ContractError) as refused:
            judge_origin(headers)
        assert refused.value.code == "malformed"


@pytest.mark.parametrize(
    "then", ["//evil.example/", "https://evil.example", "/\\evil.example", "evil", "/a\r\nX: 1", "/" + "a" * 3000]
)
def test_nobody_is_led_elsewhere(then: str) -> None:
    assert own_path(then) == "/"


def test_every_answer_bears_its_policy(visitor: Visitor) -> None:
    for path in ("/", "/login", "/static/console.css", "/static/none-such", "/?partial=1"):
        headers = visitor.http.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'self'"), path
        assert headers["x-content-type-options"] == "nosniff"


def test_nothing_is_inline_and_nothing_is_from_elsewhere(visitor: Visitor) -> None:
    for path in ("/", "/login"):
        page = visitor.page(path)
        assert (
            " style=" not in page and " onclick" not in page and "http://" not in page and "https://" not in page
        )


def test_the_api_is_as_it_was(visitor: Visitor) -> None:
    token = visitor.fleet.site.secret("operator-token")
    assert visitor.http.get("/v1/health", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert visitor.http.get("/v1/devices").status_code == 401  # a cookie is nothing to it


def test_a_disabled_persons_session_is_over(ada: Visitor) -> None:
    from edgelift_fleet.conditions import FREE

    ada.http.headers["Cookie"] = enter(ada).headers["set-cookie"].partition(";")[0]
    assert ada.http.get("/").status_code == 200
    ada.fleet.people.set_disabled("ada", True, FREE)
    assert ada.http.get("/").status_code == 303 and ada.http.get("/?partial=1").status_code == 401
