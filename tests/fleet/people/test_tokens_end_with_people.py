"""A token for a program ends with whose it is and with who made it, and is refused while either is shut out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.fleet.conftest import both_engines, edgelift
from tests.fleet.in_process import Api, api_of

from edgelift_fleet.db import SITE
from edgelift_fleet.messages.people import AccessRequest
from edgelift_fleet.people.roles import OWNER, Principal
from edgelift_fleet.tables import AccessTokenRow, PersonRow

pytestmark = pytest.mark.fleet

MARIA = Principal("maria", "admin", "login")


@pytest.fixture
def api(site: Path) -> Iterator[Api]:
    with api_of(site) as made:
        for name in ("maria", "jo"):
            made.post("/v1/people", {"name": name, "role": "admin", "password": "ten or more of them"})
        yield made


def make(api: Api, maker: Principal, person: str = "") -> str:
    return api.fleet.people.make_access(AccessRequest(role="admin", person=person), maker).token


def role_by(api: Api, token: str) -> str:
    """Empty for one that is refused."""
    told: dict[str, Any] = api.http.get("/v1/me", headers={"Authorization": f"Bearer {token}"}).json()
    return str(told.get("role", ""))


def states(api: Api) -> list[str]:
    return sorted(one["state"] for one in api.get("/v1/access-tokens"))


@both_engines
def test_what_a_person_made_is_refused_while_they_are_shut_out_and_ends_with_them(api: Api) -> None:
    own = make(api, MARIA)
    theirs = [
        own,
        make(api, api.fleet.people.known.look_up(own)),
        make(api, MARIA, "jo"),
        make(api, OWNER, "maria"),
    ]
    others = [make(api, OWNER), make(api, OWNER, "jo")]
    assert {role_by(api, one) for one in theirs + others} == {"admin"}
    assert {one["name"]: one["tokens"] for one in api.get("/v1/people")} == {"jo": 2, "maria": 4}
    assert api.post("/v1/people/maria/disable", {})["tokens"] == 4
    assert [role_by(api, one) for one in theirs + others] == [""] * 4 + ["admin"] * 2
    refused = api.http.get("/v1/me", headers={"Authorization": f"Bearer {own}"})
    assert refused.status_code == 401 and "maria, who made it, is shut out" in refused.json()["error"]
    assert states(api) == ["open"] * 2 + ["shut-out"] * 4
    assert api.post("/v1/people/maria/enable", {})["tokens"] == 4
    assert {role_by(api, one) for one in theirs} == {"admin"}
    assert api.http.request("DELETE", "/v1/people/maria").json() == {"name": "maria", "ended": 4}
    assert states(api) == ["open"] * 2 + ["revoked"] * 4
    # Another person by that name gets nothing of it back.
    api.post("/v1/people", {"name": "maria", "role": "admin", "password": "ten or more of them"})
    assert [role_by(api, one) for one in theirs + others] == [""] * 4 + ["admin"] * 2


def test_a_token_of_two_people_makes_no_others(api: Api) -> None:
    """Else an admin who is shut out would have what she made by a token that she made in somebody else's name."""
    people = api.fleet.people
    token = make(api, MARIA, "jo")
    bearer = {"Authorization": f"Bearer {token}"}
    refused = api.http.post("/v1/access-tokens", json={"role": "viewer"}, headers=bearer)
    assert refused.status_code == 409 and "jo's and was made by maria" in refused.json()["error"]
    for token in (make(api, MARIA, "maria"), make(api, OWNER, "maria")):
        assert role_by(api, make(api, people.known.look_up(token))) == "admin"
    assert {one["made_by"] for one in api.get("/v1/access-tokens")} == {"maria", "site"}
    assert role_by(api, token) == "admin"


def test_a_token_may_no_more_than_who_made_it_does_now(api: Api) -> None:
    token = make(api, MARIA)
    api.post("/v1/people/maria/role", {"role": "viewer"})
    assert role_by(api, token) == "viewer"


def test_another_password_ends_no_program_s_token(api: Api) -> None:
    token = make(api, MARIA)
    assert api.post("/v1/people/maria/password", {"password": "another password"})["tokens"] == 1
    assert role_by(api, token) == "admin"


def test_what_was_made_by_a_token_of_an_older_release_is_known_by_that_alone(api: Api) -> None:
    token = make(api, MARIA)
    with api.fleet.db.write(SITE) as session:
        session.execute(sa.update(AccessTokenRow).values(made_by="token:0123abcd"))
    api.post("/v1/people/maria/disable", {})
    assert role_by(api, token) == "admin"


def test_what_an_older_release_left_of_somebody_is_not_the_next_one_s_by_that_name(api: Api) -> None:
    theirs = [make(api, MARIA), make(api, MARIA, "jo"), make(api, OWNER, "maria")]
    other = make(api, OWNER, "jo")
    with api.fleet.db.write(SITE) as session:  # it took none of them back
        session.execute(sa.delete(PersonRow).filter_by(name="maria"))
    made = api.post("/v1/people", {"name": "maria", "role": "admin", "password": "ten or more of them"})
    assert made["tokens"] == 0
    assert [role_by(api, one) for one in [*theirs, other]] == [""] * 3 + ["admin"]


def test_the_commands_tell_how_many(api: Api, site: Path) -> None:
    make(api, MARIA)
    make(api, OWNER, "maria")
    told = [edgelift("user", what, "maria", "--site", site).stdout for what in ("disable", "enable", "remove")]
    assert [one.strip().rpartition("; ")[2] for one in told] == [
        "tokens of programs, theirs or made by them, that are refused: 2.",
        "tokens of programs, theirs or made by them, that hold again: 2.",
        "tokens that ended with them: 2.",
    ]
