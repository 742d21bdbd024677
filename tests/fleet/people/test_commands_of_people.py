"""People, access tokens and the audit log by the command, with a server and without; no secret where others can read it."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.fleet.conftest import Server, both_engines, edgelift
from tests.fleet.in_process import api_of

from edgelift_fleet.client import Client
from edgelift_fleet.keeping.backup import back_up
from edgelift_fleet.keeping.restore import restore
from edgelift_fleet.messages import LoggedIn, LoginRequest
from edgelift_fleet.site import load_site

pytestmark = pytest.mark.fleet


def run(*words: object, code: int = 0) -> str:
    done = edgelift(*words)
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done.stdout if code == 0 else done.stderr


def read(*words: object) -> Any:
    return json.loads(run(*words, "--json"))


def test_people_and_tokens_without_a_server(site: Path, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("ten or more of them\n")
    maria = ("user", "add", "maria", "--role", "admin", "--password-file", password, "--why", "first of us")
    assert run(*maria, "--site", site) == "Added maria, admin.\n"
    assert "(conflict)" in run(*maria, "--site", site, code=1)
    assert len(read("user", "password", "maria", "--generate", "--site", site)["password"]) == 22
    assert "shut out" in run("user", "disable", "maria", "--site", site)
    assert [(one["name"], one["disabled"]) for one in read("user", "list", "--site", site)] == [("maria", True)]
    token = run("access", "create", "--role", "operator", "--expires", "90d", "--note", "ci", "--site", site)
    (listed,) = read("access", "list", "--site", site)
    assert listed["note"] == "ci" and token.startswith(f"edgelift-access.{listed['id']}.")
    found = read("audit", "--site", site)
    second, first = found[-2:]
    assert (first["number"], first["operation"], first["why"], first["who"]) == (
        1,
        "add_person",
        "first of us",
        "site",
    )
    assert (second["ends"], second["outcome"], second["about"]) == (1, "done", "person=maria, role=admin")
    assert "ten or more" not in json.dumps(found)
    shown = run("audit", "--site", site, "--who", "site", "--since", "1h", "--limit", "3")
    assert "make_access POST /v1/access-tokens" in shown and "--after" in shown
    head = run("audit", "verify", "--site", site).strip()
    assert read("audit", "verify", "--site", site, "--head", head) == {"entries": len(found), "head": head}


def test_what_is_no_role_and_no_password(site: Path) -> None:
    assert "(malformed)" in run("user", "add", "al", "--role", "king", "--generate", "--site", site, code=1)
    assert "(bad-config)" in run("user", "add", "al", "--role", "viewer", "--site", site, code=1)


def test_a_log_that_was_altered_or_cut_is_told(site: Path) -> None:
    with api_of(site) as api:
        for number in range(3):
            api.post("/v1/access-tokens", {"role": "viewer", "note": str(number)})
    head = run("audit", "verify", "--site", site).strip()
    with closing(sqlite3.connect(site / "edgelift.db")) as db:
        db.execute("DROP TRIGGER audit_no_delete")
        db.execute("DELETE FROM audit WHERE number > 4")
        db.commit()
        assert len(run("audit", "verify", "--site", site)) == 65  # the rest is whole …
        told = run("audit", "verify", "--site", site, "--head", head, code=1)
        assert (
            "(audit-broken)" in told and head[:12] in told
        )  # … and a head that was kept says that there was more
        db.execute("DROP TRIGGER audit_no_update")
        db.execute("UPDATE audit SET who = 'jo' WHERE number = 3")
        db.commit()
    told = run("audit", "verify", "--site", site, code=1)
    assert "entry 3 was altered" in told and "(audit-broken)" in told
    assert "(malformed)" in run("audit", "verify", "--site", site, "--head", "x", code=1)


def test_a_cell_of_another_kind_is_told_by_its_entry(site: Path) -> None:
    with api_of(site) as api:
        for number in range(3):
            api.post("/v1/access-tokens", {"role": "viewer", "note": str(number)})
    with closing(sqlite3.connect(site / "edgelift.db")) as db:
        db.execute("DROP TRIGGER audit_no_update")
        kept = db.execute("SELECT at, who, ends FROM audit WHERE number = 3").fetchone()
        for change in ("at = 'yesterday'", "who = cast(x'ff' AS TEXT)", "ends = 1.5", "number = 'x'"):
            db.execute(f"UPDATE audit SET {change} WHERE number = 3")
            db.commit()
            told = run("audit", "verify", "--site", site, code=1)
            db.execute("UPDATE audit SET at = ?, who = ?, ends = ? WHERE number = 3", kept)
            assert "entry 3 " in told and "The 2 entries before it are whole" in told and "(audit-broken)" in told


def test_a_person_works_by_a_token_in_a_file(server: Server, tmp_path: Path) -> None:
    site, file = server.site, tmp_path / "token"
    password = read("user", "add", "maria", "--role", "operator", "--generate", "--site", site)["password"]
    made = Client(server.url, "").post("/v1/login", LoginRequest("maria", password), LoggedIn)
    file.write_text(made.token)
    there = ("--server", server.url, "--token-file", file)
    run("blobs", "collect", "--why", "a full disk, says “Jo”", *there)
    assert "(role-too-low)" in run("user", "list", *there, code=1)
    newest = read("audit", "--site", site, "--who", "maria")
    assert {(one["operation"], one["why"]) for one in newest[:2]} == {("collect_blobs", "a full disk, says “Jo”")}
    log = server.log.read_text()
    for secret in (password, made.token.rpartition(".")[2], server.operator):
        assert secret not in log and secret not in json.dumps(read("audit", "--site", site))


@both_engines
def test_the_log_comes_back_with_the_site_and_goes_on(site: Path, tmp_path: Path) -> None:
    with api_of(site) as api:
        api.post("/v1/people", {"name": "maria", "role": "admin", "password": "ten or more of them"})
        token = api.post("/v1/login", {"name": "maria", "password": "ten or more of them"})["token"]
        head = api.get("/v1/audit")[0]["digest"]
        back_up(load_site(site), api.fleet.db, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "again", database="sqlite")
    found = read("audit", "verify", "--site", tmp_path / "again", "--head", head)
    assert found["entries"] == 4
    with api_of(tmp_path / "again") as api:
        (newest, *_) = api.get("/v1/audit")
        assert (newest["operation"], newest["outcome"]) == ("restore", "done")
        assert [one["name"] for one in api.get("/v1/people")] == ["maria"]
        assert api.http.get("/v1/me", headers={"Authorization": f"Bearer {token}"}).status_code == 401
        with pytest.raises(Exception, match="only added to"), api.fleet.db.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM audit")
