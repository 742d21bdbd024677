"""Logging in and out; tokens that end; passwords that are hard to guess; and nothing of a secret in the database."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.fleet.conftest import both_engines
from tests.fleet.in_process import Api, api_of

from edgelift_contract.errors import ContractError, TransportError
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.messages.people import AccessRequest, PersonRequest
from edgelift_fleet.people.directory import People
from edgelift_fleet.people.known import BELIEVED_S, KnownTokens
from edgelift_fleet.people.passwords import check_password, digest_password
from edgelift_fleet.people.roles import OWNER
from edgelift_fleet.people.tries import ADDRESS_FREE, NAME_FREE, NAME_MOST_S, Tries, network_of
from edgelift_fleet.tables import AccessTokenRow

pytestmark = pytest.mark.fleet

PASSWORD = "ten or more of them"


@pytest.fixture
def api(site: Path) -> Iterator[Api]:
    with api_of(site) as made:
        yield made


def login(api: Api, name: str = "maria", password: str = PASSWORD, **more: Any) -> Any:
    return api.http.post(
        "/v1/login", json={"name": name, "password": password, **more}, headers={"Authorization": ""}
    )


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("name", [".", "..", "-x", "_", "Maria", "site"])
def test_a_name_that_no_url_or_command_can_name_is_none(api: Api, name: str) -> None:
    asked = {"name": name, "role": "viewer", "password": PASSWORD}
    assert api.http.post("/v1/people", json=asked).json()["code"] in ("malformed", "bad-id")
    assert api.get("/v1/people") == []


@both_engines
def test_a_person_s_life(api: Api, site: Path, engine: str) -> None:
    assert (
        api.post("/v1/people", {"name": "maria", "role": "operator", "password": PASSWORD})["role"] == "operator"
    )
    assert (
        api.http.post("/v1/people", json={"name": "maria", "role": "viewer", "password": PASSWORD}).status_code
        == 409
    )
    made = login(api).json()
    assert (made["name"], made["role"]) == ("maria", "operator")
    mine = bearer(made["token"])
    assert api.http.get("/v1/me", headers=mine).json() == {k: made[k] for k in ("name", "role", "expires_at")}
    assert api.http.get("/v1/people", headers=mine).json()["code"] == "role-too-low"
    # Another role holds for tokens that are there; a higher one only for new ones.
    api.post("/v1/people/maria/role", {"role": "viewer"})
    assert api.http.get("/v1/me", headers=mine).json()["role"] == "viewer"
    api.post("/v1/people/maria/role", {"role": "admin"})
    assert api.http.get("/v1/me", headers=mine).json()["role"] == "operator"
    # Out by another password, by logging out, and by being shut out.
    api.post("/v1/people/maria/password", {"password": "another password"})
    assert api.http.get("/v1/me", headers=mine).status_code == 401
    mine = bearer(login(api, password="another password", hours=1).json()["token"])
    assert api.http.post("/v1/logout", headers=mine).status_code == 200
    assert api.http.get("/v1/me", headers=mine).status_code == 401
    mine = bearer(login(api, password="another password").json()["token"])
    assert api.post("/v1/people/maria/disable", {})["disabled"] is True
    assert api.http.get("/v1/me", headers=mine).status_code == 401
    assert login(api, password="another password").status_code == 401
    api.post("/v1/people/maria/enable", {})
    assert api.http.get("/v1/me", headers=mine).status_code == 401
    mine = bearer(login(api, password="another password").json()["token"])
    assert api.http.request("DELETE", "/v1/people/maria").json() == {"name": "maria", "ended": 1}
    assert api.http.get("/v1/me", headers=mine).status_code == 401
    assert api.get("/v1/people") == []
    assert api.http.post("/v1/logout").json()["code"] == "conflict"
    if engine == "sqlite":
        with sqlite3.connect(site / "edgelift.db") as db:
            kept = "\n".join(db.iterdump())
        assert (
            PASSWORD not in kept
            and "another password" not in kept
            and made["token"].rpartition(".")[2] not in kept
        )


def test_tokens_of_programs(api: Api) -> None:
    made = api.post("/v1/access-tokens", {"role": "operator", "days": 2, "note": "ci"})
    (listed,) = api.get("/v1/access-tokens")
    assert (listed["id"], listed["state"], listed["note"], listed["made_by"]) == (made["id"], "open", "ci", "site")
    assert made["token"].startswith("edgelift-access.") and "token" not in listed
    mine = bearer(made["token"])
    assert api.http.get("/v1/devices", headers=mine).status_code == 200
    assert api.get("/v1/access-tokens")[0]["used_at"] > 0
    assert api.http.request("DELETE", f"/v1/access-tokens/{made['id']}").json()["state"] == "revoked"
    refused = api.http.get("/v1/devices", headers=mine)
    assert refused.status_code == 401 and "taken back" in refused.json()["error"]
    changed = bearer(made["token"][:-1] + ("A" if made["token"][-1] != "A" else "B"))
    assert api.http.get("/v1/devices", headers=changed).status_code == 401
    assert api.http.request("DELETE", "/v1/access-tokens/00000000").status_code == 404


def test_no_token_may_more_than_its_maker(api: Api) -> None:
    people = api.fleet.people
    admin = people.known.look_up(people.make_access(AccessRequest(role="admin"), OWNER).token)
    operator = people.known.look_up(people.make_access(AccessRequest(role="operator"), admin).token)
    with pytest.raises(ContractError) as refused:
        people.make_access(AccessRequest(role="admin"), operator)
    assert refused.value.code == "role-too-low"
    people.add(PersonRequest("jo", "viewer", PASSWORD))
    mine = people.make_access(AccessRequest(role="admin", person="jo"), OWNER)
    assert people.known.look_up(mine.token).role == "viewer"


def test_a_token_that_another_server_took_back_ends_soon(site: Path) -> None:
    with api_of(site) as api:
        db, now = api.fleet.db, [1000.0]
        here = People(db, lambda: now[0])
        elsewhere = KnownTokens(db, lambda: now[0])
        made = here.make_access(AccessRequest(role="viewer", days=1), OWNER)
        elsewhere.look_up(made.token)
        assert elsewhere.at_hand(made.token) is not None
        here.revoke(made.id)
        assert elsewhere.at_hand(made.token) is not None  # nothing is read for it …
        now[0] += BELIEVED_S
        assert elsewhere.at_hand(made.token) is None  # … for less than 5 s
        with pytest.raises(TransportError, match="taken back"):
            elsewhere.look_up(made.token)
        other = here.make_access(AccessRequest(role="viewer", days=1), OWNER)
        assert here.known.look_up(other.token).expires_at == now[0] + 86400
        now[0] += 86400
        with pytest.raises(TransportError, match="expired"):
            here.known.look_up(other.token)


def test_the_site_s_token_reads_no_database(api: Api) -> None:
    api.get("/v1/me")
    read: list[str] = []
    sa.event.listen(api.fleet.db.engine, "before_cursor_execute", lambda *given: read.append(given[2]))
    api.get("/v1/me")
    assert read == []
    token = api.fleet.people.make_access(AccessRequest(role="viewer"), OWNER).token
    api.http.get("/v1/me", headers=bearer(token))
    read.clear()
    api.http.get("/v1/me", headers=bearer(token))
    assert read == []


def test_wrong_passwords_and_unknown_names_are_told_alike_and_wait(api: Api) -> None:
    api.post("/v1/people", {"name": "maria", "role": "admin", "password": PASSWORD})
    answers = [login(api, name, "not this one") for name in ("maria", "nobody-at-all")]
    told = [one.json() for one in answers]
    assert told[0] == told[1] and answers[0].status_code == 401
    found = [login(api, "maria", "not this one") for _ in range(NAME_FREE)]
    assert {one.status_code for one in found[:-1]} == {401} and found[-1].status_code in (401, 429)
    last = login(api)
    assert (last.status_code, last.json()["code"]) == (429, "too-many-tries") and int(
        last.headers["Retry-After"]
    ) >= 1


def test_tries_wait_longer_and_longer() -> None:
    tries, now = Tries(), 1000.0
    for _ in range(NAME_FREE):
        tries.begin("maria", "10.0.0.1", now)
    waits = []
    for _ in range(9):
        tries.begin("maria", "10.0.0.1", now)
        with pytest.raises(TransportError) as refused:
            tries.begin("maria", "10.9.9.9", now)
        waits.append(refused.value.retry_after_s)
        now += refused.value.retry_after_s
    assert waits[:4] == [1.0, 2.0, 4.0, 8.0] and waits[-1] == NAME_MOST_S
    tries.begin("jo", "10.9.9.9", now)  # neither the name nor the address
    tries.begin("maria", "10.0.0.1", now)
    tries.succeeded("maria", "10.0.0.1")
    tries.begin("maria", "10.9.9.9", now)


def test_many_names_from_one_address_wait_too_and_memory_is_bounded() -> None:
    tries, now = Tries(most=100), 1000.0
    for number in range(ADDRESS_FREE + 1):
        tries.begin(f"name-{number}", "2001:db8::1", now)
    with pytest.raises(TransportError):
        tries.begin("name-x", "2001:db8::ffff:1", now)  # the same party's
    for number in range(1000):
        tries.begin(f"name-{number}", f"10.0.{number // 250}.{number % 250}", now)
    assert len(tries) <= 100
    assert network_of("::ffff:10.0.0.1") == "10.0.0.1" and network_of("testclient") == "testclient"


def test_passwords() -> None:
    digest = digest_password(PASSWORD)
    assert PASSWORD not in digest and digest != digest_password(PASSWORD)
    assert check_password(PASSWORD, digest) and not check_password(PASSWORD + "x", digest)
    assert not check_password("", "") and not check_password(PASSWORD, "scrypt$99999999$8$1$AA==$AA==")
    with pytest.raises(ContractError):
        digest_password("short")


def test_a_person_s_oldest_logins_go(site: Path) -> None:
    with api_of(site) as api:
        db: Database = api.fleet.db
        api.post("/v1/people", {"name": "maria", "role": "admin", "password": PASSWORD})
        token = login(api).json()["token"]
        with db.write(SITE) as session:
            row = session.scalars(sa.select(AccessTokenRow)).one()
            for number in range(150):
                mine = {c.name: getattr(row, c.name) for c in AccessTokenRow.__table__.columns}
                session.add(AccessTokenRow(**{**mine, "id": f"{number:08x}", "made_at": row.made_at + number + 1}))
        login(api)
        with db.read() as session:
            assert session.scalar(sa.select(sa.func.count()).select_from(AccessTokenRow)) == 100
        assert api.http.get("/v1/me", headers=bearer(token)).status_code in (200, 401)
