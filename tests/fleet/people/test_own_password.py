"""Everybody changes their own password, by the old one, which is guessed no faster than at a login; other logins end."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fleet.conftest import Server, both_engines, edgelift
from tests.fleet.in_process import Api, api_of

from edgelift_fleet.client import Client
from edgelift_fleet.messages import AuditEntry, LoggedIn, LoginRequest, PersonRequest, PersonView
from edgelift_fleet.people.tries import NAME_FREE

pytestmark = pytest.mark.fleet

OLD, NEW = "ten or more of them", "another password"


@pytest.fixture
def api(site: Path) -> Iterator[Api]:
    with api_of(site) as made:
        made.post("/v1/people", {"name": "maria", "role": "viewer", "password": OLD})
        yield made


def login(api: Api, password: str) -> str:
    told: dict[str, Any] = api.http.post("/v1/login", json={"name": "maria", "password": password}).json()
    return str(told.get("token", ""))


def ask(api: Api, token: str, **body: str) -> Any:
    return api.http.post("/v1/me/password", json=body, headers={"Authorization": f"Bearer {token}"})


def holds(api: Api, token: str) -> bool:
    return bool(api.http.get("/v1/me", headers={"Authorization": f"Bearer {token}"}).status_code == 200)


@both_engines
def test_one_s_own_password_by_the_old_one(api: Api) -> None:
    here, there = login(api, OLD), login(api, OLD)
    wrong = ask(api, here, old="not this one", password=NEW)
    assert (wrong.status_code, wrong.json()["code"]) == (401, "not-authorised") and holds(api, there)
    assert ask(api, here, old=OLD, password="short").json()["code"] == "malformed"
    assert ask(api, here, old=OLD, password=NEW).json()["name"] == "maria"
    assert holds(api, here) and not holds(api, there)
    assert not login(api, OLD) and login(api, NEW)
    logged = [one for one in api.get("/v1/audit") if one["operation"] == "change_password"]
    assert [(one["who"], one["outcome"]) for one in logged] == [
        ("maria", "done"), ("maria", "begun"), ("maria", "malformed"), ("maria", "begun"), ("maria", "not-authorised"),
        ("maria", "begun"),
    ]  # fmt: skip
    assert OLD not in str(logged) and NEW not in str(logged)


def test_the_old_one_is_guessed_no_faster_than_at_a_login(api: Api) -> None:
    token = login(api, OLD)
    codes = [ask(api, token, old="not this one", password=NEW).json()["code"] for _ in range(NAME_FREE + 2)]
    assert codes[0] == "not-authorised" and codes[-1] == "too-many-tries"
    right = ask(api, token, old=OLD, password=NEW)
    assert right.status_code == 429 and int(right.headers["Retry-After"]) >= 1
    # Nor is it another way around: it is the same name's wait.
    assert api.http.post("/v1/login", json={"name": "maria", "password": OLD}).status_code == 429


def test_who_is_no_person_has_none(api: Api) -> None:
    refused = api.http.post("/v1/me/password", json={"old": OLD, "password": NEW})
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


def test_by_the_command(server: Server, tmp_path: Path) -> None:
    admin = Client(server.url, server.operator)
    admin.post("/v1/people", PersonRequest("ann", "viewer", OLD), PersonView)
    token = Client(server.url, "").ask("/v1/login", LoginRequest("ann", OLD), LoggedIn).token
    for name, text in (("old", OLD), ("new", NEW), ("token", token)):
        (tmp_path / name).write_text(text + "\n")
    mine = ("--server", server.url, "--token-file", tmp_path / "token", "--why", "it was seen")
    files = ("--old-password-file", tmp_path / "old", "--password-file", tmp_path / "new")
    done = edgelift("user", "password", *files, *mine)
    assert (done.returncode, done.stdout) == (0, "ann has another password.\n"), done.stderr
    again = edgelift("user", "password", *files, *mine)
    assert again.returncode == 1 and "The old password is wrong" in again.stderr
    assert "nobody is here to type it" in edgelift("user", "password", *mine).stderr
    assert "(conflict)" in edgelift("user", "password", *files, "--site", server.site).stderr
    assert "(malformed)" in edgelift("user", "password", "ann", *files, *mine).stderr
    assert Client(server.url, "").ask("/v1/login", LoginRequest("ann", NEW), LoggedIn).name == "ann"
    assert {one.why for one in admin.get("/v1/audit?who=ann", list[AuditEntry])} == {"it was seen", ""}
