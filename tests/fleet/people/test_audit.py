"""The log of what people did: who, what, when, why and with what outcome; added to alone, and each entry holds the last."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from msgspec.structs import replace
from tests.fleet.conftest import both_engines, edgelift
from tests.fleet.in_process import Api, api_of

from edgelift_contract.errors import ContractError, TransportError
from edgelift_fleet.db import Database
from edgelift_fleet.messages.audit import BEGINNING, AuditEntry, Chain, digest_of_entry
from edgelift_fleet.messages.people import AccessRequest
from edgelift_fleet.paging import Wish
from edgelift_fleet.people.audit import Audit, Deed, check_why, list_audit
from edgelift_fleet.people.budget import LogBudget
from edgelift_fleet.people.roles import OWNER, Principal
from edgelift_fleet.tables import AuditRow

pytestmark = pytest.mark.fleet

DEED = Deed(Principal("maria", "operator", "login"), "10.0.0.1", "assign", "POST", "/v1/assign")


@pytest.fixture
def api(site: Path) -> Iterator[Api]:
    with api_of(site) as made:
        yield made


def entries(api: Api) -> list[dict[str, Any]]:
    return api.get("/v1/audit", sort="number", limit=1000)


def test_a_reason_is_text_and_clean() -> None:
    assert check_why("its key\x1b[31m, “Jo”") == "its key\ufffd[31m, “Jo”"
    with pytest.raises(ContractError, match="is not text") as caught:
        check_why("its key \udcff")
    assert caught.value.code == "malformed"


def verified(db: Database) -> str:
    chain = Chain()
    with db.read() as session:
        for entry in list_audit(session, "", 0.0, Wish(1000, "", "number")).items:
            assert chain.add(entry) is None
    return chain.head


@both_engines
def test_a_change_is_logged_before_and_after(api: Api) -> None:
    api.boards.add("pi-1")
    why = "the night shift asked: “now”"
    api.post("/v1/devices/pi-1/tags", {"set": {"a": "b"}}, **{"Edgelift-Reason": quote(why)})
    begun, done = entries(api)
    assert (begun["who"], begun["role"], begun["operation"], begun["method"]) == ("site", "admin", "tags", "POST")
    assert (begun["path"], begun["about"], begun["why"]) == ("/v1/devices/pi-1/tags", "device=pi-1", why)
    assert (begun["outcome"], done["outcome"], done["ends"]) == ("begun", "done", begun["number"])
    assert abs(begun["at"] - time.time()) < 3600 and begun["address"] == "testclient"
    # What it refuses is logged by its code; what only asks isn't.
    api.http.post("/v1/devices/pi-2/tags", json={"set": {"a": "b"}})
    api.http.post("/v1/devices/pi-1/tags", json={"nonsense": 1})
    api.post("/v1/devices/search", {})
    api.get("/v1/devices")
    assert [one["outcome"] for one in entries(api)[2:]] == ["begun", "not-found", "begun", "malformed"]
    verified(api.fleet.db)


def test_who_is_refused_at_the_door_is_logged_once(api: Api) -> None:
    token = api.fleet.people.make_access(AccessRequest(role="viewer"), OWNER)
    api.http.post("/v1/assign", json={}, headers={"Authorization": f"Bearer {token.token}"})
    api.http.post("/v1/assign", json={}, headers={"Authorization": "Bearer nonsense"})
    api.http.get("/v1/devices", headers={"Authorization": "Bearer nonsense"})
    api.http.post("/v1/login", json={"name": "a secret typed here", "password": "and another one"})
    found = entries(api)
    assert [(one["who"], one["operation"], one["outcome"]) for one in found] == [
        (f"token:{token.id}", "assign_all", "role-too-low"), ("", "assign_all", "not-authorised"),
        ("", "login", "not-authorised"),
    ]  # fmt: skip
    assert not any(
        secret in str(found) for secret in ("nonsense", "typed", "another", token.token.rpartition(".")[2])
    )


def test_logins_are_logged_with_their_token_or_not_at_all(api: Api) -> None:
    api.post("/v1/people", {"name": "maria", "role": "viewer", "password": "ten or more of them"})
    wrong = api.http.post("/v1/login", json={"name": "maria", "password": "not this one"})
    right = api.http.post("/v1/login", json={"name": "maria", "password": "ten or more of them"}).json()
    api.http.post("/v1/logout", headers={"Authorization": f"Bearer {right['token']}"})
    found = [(one["who"], one["operation"], one["about"], one["outcome"]) for one in entries(api)[2:]]
    assert wrong.status_code == 401 and found == [
        ("", "login", "name=maria", "not-authorised"), ("maria", "login", "", "done"), ("maria", "logout", "", "begun"),
        ("maria", "logout", "", "done"),
    ]  # fmt: skip


def test_a_reason_is_bounded(api: Api) -> None:
    refused = api.http.post("/v1/assign", json={}, headers={"Edgelift-Reason": "x" * 501})
    assert refused.json()["code"] == "malformed" and "500" in refused.json()["error"]
    assert api.http.post("/v1/assign", json={}, headers={"Edgelift-Reason": "%ff%0a"}).status_code == 400
    assert [(one["outcome"], one["why"]) for one in entries(api)][:2] == [
        ("malformed", "x" * 500),
        ("begun", "� "),
    ]


def test_a_reason_that_is_too_long_hides_no_refusal(api: Api) -> None:
    token = api.fleet.people.make_access(AccessRequest(role="viewer"), OWNER).token
    for shown, code in ((token, "role-too-low"), ("nonsense", "not-authorised")):
        mine = {"Authorization": f"Bearer {shown}", "Edgelift-Reason": "x" * 501}
        assert api.http.post("/v1/assign", json={}, headers=mine).json()["code"] == code
    assert [one["outcome"] for one in entries(api)] == ["role-too-low", "not-authorised"]


def test_a_change_that_can_t_be_logged_is_not_made(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.boards.add("pi-1")

    def refuse(_deed: Deed) -> int:
        raise TransportError("busy", "The database is away.")

    monkeypatch.setattr(api.fleet.people.audit, "begin", refuse)
    assert api.http.post("/v1/devices/pi-1/tags", json={"set": {"a": "b"}}).json()["code"] == "busy"
    assert "a" not in api.get("/v1/devices")[0]["tags"]


def test_pages_and_filters(api: Api) -> None:
    audit = Audit(api.fleet.db)
    for number in range(5):
        audit.end(DEED if number % 2 else Deed(OWNER, "", "x", "POST", "/"), 0, "done")
    pages = api.pages("/v1/audit?limit=2")
    assert [[one["number"] for one in page] for page in pages] == [[5, 4], [3, 2], [1]]
    assert [one["number"] for one in api.get("/v1/audit", who="maria")] == [4, 2]
    assert api.get("/v1/audit", since=time.time() + 3600) == []
    assert api.refused("/v1/audit", after="x") == (400, "bad-id")


@both_engines
def test_what_has_ended_is_one_entry_on_whichever_page_its_end_stands(api: Api) -> None:
    audit = Audit(api.fleet.db)
    first, second, third = (audit.begin(DEED) for _ in range(3))
    audit.end(DEED, second, "done")
    audit.end(DEED, first, "conflict")
    pages = api.pages("/v1/audit?limit=1&joined=true")
    found = [(one["number"], one["ends"], one["outcome"]) for page in pages for one in page]
    assert found == [(5, first, "conflict"), (4, second, "done"), (third, 0, "begun")]
    upwards = api.pages("/v1/audit?limit=2&sort=number&joined=true&who=maria")
    assert [[one["number"] for one in page] for page in upwards] == [[3, 4], [5]]
    # By the command, and without `joined` for a program: all of them.
    here = ("--site", api.fleet.site.folder)
    shown = edgelift("audit", *here, "--limit", "1", "--after", "4").stdout
    assert "3 entries" in shown and "begun" in shown
    shown = edgelift("audit", *here, "--limit", "2", "--after", "5").stdout
    assert shown.count("begun") == 1 and shown.count("done") == 1
    assert len(json.loads(edgelift("audit", *here, "--json").stdout)) == 5


def test_rows_are_only_added(database_url: str) -> None:
    with closing(Database(database_url)) as db:
        db.migrate()
        audit = Audit(db)
        audit.begin(DEED)
        before = verified(db)
        for change in (sa.update(AuditRow).values(who="jo"), sa.delete(AuditRow)):
            with pytest.raises(sa.exc.DBAPIError, match="only added to"), db.engine.begin() as connection:
                connection.execute(change)
        if db.engine.dialect.name == "sqlite":
            statement = "INSERT OR REPLACE INTO audit SELECT * FROM audit"
        else:
            statement = "TRUNCATE audit"
        with pytest.raises(sa.exc.DBAPIError, match="only added to"), db.engine.begin() as connection:
            connection.execute(sa.text(statement))
        assert verified(db) == before


@both_engines
def test_servers_that_write_at_once_make_one_chain(site: Path) -> None:
    with api_of(site) as api, closing(Database(api.fleet.site.database)) as other:
        logs = [Audit(api.fleet.db), Audit(other)]
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda n: logs[n % 2].end(DEED, n, "done"), range(40)))
        verified(other)
        with other.read() as session:
            assert session.scalar(sa.select(sa.func.max(AuditRow.number))) == 40


def test_a_chain_tells_where_it_is_broken() -> None:
    def chain_of(entries: list[AuditEntry]) -> Any:
        chain = Chain()
        found = [broken for one in entries if (broken := chain.add(one)) is not None]
        return found[0] if found else chain.head

    good: list[AuditEntry] = []
    for number in range(1, 6):
        entry = AuditEntry(number, 1.5, "maria", "admin", "", "x", "POST", "/", "", "", "done", 0)
        good.append(replace(entry, digest=digest_of_entry(entry, good[-1].digest if good else BEGINNING)))
    assert chain_of(good) == good[-1].digest
    assert chain_of([*good[:2], replace(good[2], who="jo"), *good[3:]]).number == 3
    assert chain_of([*good[:2], *good[3:]]).number == 3
    assert chain_of(good[1:]).number == 1
    forged = replace(good[2], who="jo")
    forged = replace(forged, digest=digest_of_entry(forged, good[1].digest))
    assert chain_of([*good[:2], forged, *good[3:]]).number == 4


def test_refusals_do_not_fill_the_disk(api: Api) -> None:
    now = [1000.0]
    audit = Audit(api.fleet.db, lambda: now[0])
    nobody = Deed(Principal("", "", ""), "10.0.0.1", "login", "POST", "/v1/login")
    for _ in range(500):
        audit.refuse(nobody, "not-authorised")
    assert len(entries(api)) == 50
    audit.refuse(DEED, "role-too-low")  # whom one knows is not crowded out
    now[0] += 60
    audit.refuse(nobody, "not-authorised")
    assert [one["about"] for one in entries(api)[-2:]] == ["", "(and 450 more that are not listed)"]


def test_neither_strangers_nor_failed_logins_keep_the_other_out_of_the_log(api: Api) -> None:
    api.post("/v1/people", {"name": "maria", "role": "viewer", "password": "ten or more of them"})
    for _ in range(60):
        api.http.post("/v1/assign", json={}, headers={"Authorization": "Bearer nonsense"})
    api.http.post("/v1/login", json={"name": "nobody", "password": "not this one"})  # a stranger's, too
    api.http.post("/v1/login", json={"name": "maria", "password": "not this one"})
    found = [(one["operation"], one["about"]) for one in entries(api)[2:]]
    assert found == [("assign_all", "")] * 50 + [("login", "name=maria")]
    audit, nobody = (
        Audit(api.fleet.db, lambda: 1000.0),
        Deed(Principal("", "", ""), "", "login", "POST", "/v1/login"),
    )
    for _ in range(250):
        audit.refuse_login(nobody, "maria", "not-authorised")
    audit.refuse(nobody, "not-authorised")
    audit.refuse(DEED, "role-too-low")
    found = [(one["who"], one["about"]) for one in entries(api)[len(found) + 2 :]]
    assert found == [("", "name=maria")] * 200 + [("", ""), ("maria", "")]


def test_an_allowance_fills_by_and_by() -> None:
    allowance = LogBudget(burst=2, every_s=10.0)
    assert [allowance.take(1.0) for _ in range(4)] == [0, 0, None, None]
    assert [allowance.take(11.0), allowance.take(11.0)] == [2, None]
    assert [allowance.take(1000.0) for _ in range(3)] == [1, 0, None]
