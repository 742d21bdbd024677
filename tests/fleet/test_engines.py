"""PostgreSQL beside SQLite: what is acknowledged is kept, however many write at once and whatever the database does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest
import requests
import sqlalchemy as sa

from edgelift_contract import codec
from edgelift_contract.assignment import Assignment, Policy
from edgelift_contract.errors import ContractError, DeviceError, EdgeliftError
from edgelift_contract.report import Report, SlotReport, UpdateReport
from edgelift_fleet.client import Client
from edgelift_fleet.db import ROWS, SITE, Database, device_scope
from edgelift_fleet.engines import parse_url, shown
from edgelift_fleet.messages import (
    AssignReply,
    AssignRequest,
    DeviceDetail,
    RolloutRequest,
    ServerHealth,
    TagsRequest,
)
from edgelift_fleet.registry import publish
from edgelift_fleet.site import create_site, load_site
from edgelift_fleet.tables import DeviceRow, ReleaseRow, TagRow, UpdateHistoryRow
from edgelift_fleet.testing import FACTS, SimulatedDevice
from tests.fleet.conftest import Server, both_engines, edgelift, make_site
from tests.fleet.postgres import PASSWORD, Postgres
from tests.waiting import LONG_S, until

pytestmark = pytest.mark.fleet

Made = TypeVar("Made")


def at_once(number: int, job: Callable[[int], Made]) -> list[Made | EdgeliftError]:
    """What `job(0)` … `job(number - 1)` give, all begun at the same moment."""
    ready = threading.Barrier(number)

    def one(index: int) -> Made | EdgeliftError:
        ready.wait(LONG_S)
        try:
            return job(index)
        except EdgeliftError as error:
            return error

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(one, range(number)))


def enrolled(server: Server, name: str, **tags: str) -> SimulatedDevice:
    made = SimulatedDevice(server.url, server.token, name, tags=tags)
    made.epoch = "boot-1"
    made.enrol()
    return made


def operator(server: Server) -> Client:
    return Client(server.url, server.operator)


@both_engines
def test_of_twenty_assigns_at_once_twenty_are_kept(server: Server) -> None:
    enrolled(server, "pi-1")
    slots = [f"slot-{i}" for i in range(20)]

    def assign(index: int) -> int:
        wanted = AssignRequest(release=f"digits@{index % 3 + 1}", slot=slots[index])
        return operator(server).post("/v1/devices/pi-1/assign", wanted, AssignReply).revision

    revisions = at_once(20, assign)
    assert sorted(revisions) == list(range(1, 21))
    held = requests.get(
        f"{server.url}/v1/devices/pi-1/desired",
        headers={"Authorization": f"Bearer {server.token}"},
        timeout=LONG_S,
    )
    found = codec.decode_json(held.content, Assignment, what="assignment")
    assert (found.revision, sorted(found.slots)) == (20, sorted(slots))


@both_engines
def test_of_reports_at_once_the_newest_stands(server: Server) -> None:
    device = enrolled(server, "pi-1")

    def report(index: int) -> dict:
        update = UpdateReport(
            revision=index + 1, artifact="a" * 64, rollout="", outcome="committed", finished_at=2.0
        )
        slot = SlotReport(
            state="serving", generation=index, artifact="a" * 64, model="digits", version="1", since=float(index),
            update=update,
        )  # fmt: skip
        made = Report(
            schema=1, device="pi-1", epoch="boot-1", sequence=index, at=1.0, agent_version="1",
            revision_seen=0, revision_applied=0, slots={"digits": slot}, tags={"barn": str(index)}, facts=FACTS,
        )  # fmt: skip
        body, headers = codec.canonical_json(made), {"Authorization": f"Bearer {server.token}"}
        while True:
            reply = requests.put(f"{server.url}/v1/devices/pi-1/report", body, headers=headers, timeout=LONG_S)
            if reply.status_code != 429:  # a device may have a few under way at once: the others ask again
                break
        assert reply.status_code == 200, reply.text
        return reply.json()

    taken = [index for index, reply in enumerate(at_once(20, report)) if reply["news"]]
    assert 19 in taken
    with closing(Database(load_site(server.site).database)) as db, db.read() as session:
        row = session.get_one(DeviceRow, "pi-1")
        assert row.report_sequence == 19
        assert session.get_one(TagRow, ("pi-1", "barn")).value == "19"
        stored = sorted(session.scalars(sa.select(UpdateHistoryRow.revision)))
        assert stored == [index + 1 for index in taken]
    device.stop()


@both_engines
def test_of_two_rollouts_started_at_once_one_is_refused(server: Server) -> None:
    for name in ("pi-1", "pi-2"):
        enrolled(server, name, barn="north")

    def start(index: int) -> str:
        wanted = RolloutRequest(
            release=f"digits@{index % 2 + 1}", to="tag:barn", waves=["1", "100%"], policy=Policy(probation_s=1)
        )
        return operator(server).post("/v1/rollouts", wanted, dict)["id"]

    found = at_once(8, start)
    assert len([one for one in found if isinstance(one, str)]) == 1
    assert {one.code for one in found if isinstance(one, EdgeliftError)} == {"conflict"}


@both_engines
def test_of_publishes_at_once_the_release_is_there_once(
    site: Path, releases: dict[str, Path], tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    url = "" if engine == "sqlite" else request.getfixturevalue("postgres").database(f"again{tmp_path.name}")
    made, _ = create_site(tmp_path / "other", database=url)
    with closing(Database(made.database)) as db:
        db.migrate()
        done = at_once(6, lambda _: publish(made, db, releases["digits@1"]).new)
        assert sum(done) >= 1 and all(isinstance(one, bool) for one in done)
        with db.read() as session:
            assert len(session.scalars(sa.select(ReleaseRow)).all()) == 1


def test_no_write_runs_beside_one_that_is_about_the_same(database_url: str) -> None:
    """Read, wait for the others to try, then write: without the lock, all would read the same."""
    with closing(Database(database_url)) as db:
        db.migrate()
        with db.write(SITE) as session:
            session.add_all(DeviceRow(id=f"pi-{i}", enrolled_at=0.0, facts="{}") for i in range(2))

        def count_up(index: int) -> None:
            with db.write(SITE if index % 3 == 0 else device_scope("pi-0")) as session:
                row = session.get_one(DeviceRow, "pi-0")
                row.revision_seen = row.revision_seen + 1

        at_once(12, count_up)
        with db.read() as session:
            assert session.get_one(DeviceRow, "pi-0").revision_seen == 12


def test_on_postgresql_other_devices_are_written_meanwhile(postgres_url: str) -> None:
    with closing(Database(postgres_url)) as db:
        db.migrate()
        with db.write(device_scope("pi-0")) as held:
            held.add(DeviceRow(id="pi-0", enrolled_at=0.0, facts="{}"))
            held.flush()
            with db.write(device_scope("pi-1")) as session:
                session.add(DeviceRow(id="pi-1", enrolled_at=0.0, facts="{}"))
            with db.write(ROWS) as session:
                session.execute(sa.update(DeviceRow).where(DeviceRow.id == "pi-1").values(last_seen=5.0))
            with db.read() as session:
                assert [row.id for row in session.scalars(sa.select(DeviceRow))] == ["pi-1"]


def test_reading_writes_nothing(postgres_url: str) -> None:
    with closing(Database(postgres_url)) as db:
        db.migrate()
        with pytest.raises(DeviceError) as refused, db.read() as session:
            session.execute(sa.text("DELETE FROM device"))
        assert refused.value.code == "read-only"


@pytest.mark.parametrize(
    "values",
    [{"id": "n\0l"}, {"id": "i" * 65}, {"revision_seen": 2**63}],
    ids=["a NUL", "too long", "too large"],
)
def test_what_the_database_cannot_hold_is_refused_as_such(postgres_url: str, values: dict[str, object]) -> None:
    with closing(Database(postgres_url)) as db:
        db.migrate()
        with pytest.raises(ContractError) as refused, db.write(SITE) as session:
            session.add(DeviceRow(**{"id": "pi-1", "enrolled_at": 0.0, "facts": "{}", **values}))
        assert refused.value.code == "malformed"


# ---------------------------------------------------------------- how it is named, and who may read its password


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("postgresql://ann@db.farm/site", "postgresql://ann@db.farm/site"),
        ("postgres://ann:geheim@db.farm:6000/site", "postgresql://ann@db.farm:6000/site"),
        ("postgresql+psycopg://ann@db.farm/site?password=geheim&sslmode=require", "postgresql://ann@db.farm/site"),
        ("sqlite:////var/x.db", "sqlite:////var/x.db"),
    ],
)
def test_a_database_is_named_without_its_password(text: str, name: str) -> None:
    assert shown(parse_url(text)) == name


@pytest.mark.parametrize(
    "text", ["", "x", "mysql://ann:geheim@h/x", "postgresql://ann:geheim@h:port/x", "://geheim"]
)
def test_another_url_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(DeviceError) as refused:
        parse_url(text)
    assert refused.value.code == "bad-config" and "geheim" not in str(refused.value)


def test_init_keeps_the_password_apart_and_every_command_uses_the_database(
    postgres_url: str, tmp_path: Path, releases: dict[str, Path]
) -> None:
    site = tmp_path / "site"
    made = edgelift("init", site, env={"EDGELIFT_DATABASE": postgres_url})
    assert made.returncode == 0 and "Its database is postgresql://edgelift@127.0.0.1" in made.stdout, made.stderr
    password = site / "secrets" / "database-password"
    assert password.read_text() == PASSWORD + "\n" and password.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in (site / "site.toml").read_text() + made.stdout + made.stderr
    assert edgelift("publish", releases["digits@1"], "--site", site).returncode == 0
    assert "digits@1" in edgelift("releases", "--site", site).stdout
    assert not (site / "edgelift.db").exists()
    again = edgelift("init", site, "--database", "postgresql://ann@db.farm/other")
    assert again.returncode == 1 and "exists already, on the database postgresql://edgelift@" in again.stderr


def test_serve_on_a_named_database(site: Path, postgres_url: str, releases: dict[str, Path]) -> None:
    """By `--database` alone: the password is asked for where others can't read it, and logged nowhere."""
    bare = shown(parse_url(postgres_url))
    server = Server(site, "--broker", "none", "--database", bare, env={"PGPASSWORD": PASSWORD}).start()
    try:
        enrolled(server, "pi-1")
        assert server.info["database"] == bare
        other = {"EDGELIFT_DATABASE": f"{bare}x"}
        wrong = edgelift("publish", releases["digits@1"], "--site", site, env=other)
        assert wrong.returncode == 1 and f"server runs on the database {bare}" in wrong.stderr
        right = edgelift("publish", releases["digits@1"], "--site", site, env={"EDGELIFT_DATABASE": postgres_url})
        assert right.returncode == 0 and "Published digits@1" in right.stdout, right.stderr
        unnamed = edgelift("publish", releases["digits@1"], "--site", site)  # the server knows its database
        assert unnamed.returncode == 0 and "published already" in unnamed.stdout, unnamed.stderr
    finally:
        assert server.stop() == 0
    told = edgelift("releases", "--site", site, "--database", postgres_url)
    assert told.returncode == 0 and "password stands in this command" in told.stderr
    for text in (server.log.read_text(), right.stderr, told.stderr):
        assert PASSWORD not in text and "Swordfish" not in text


@pytest.mark.parametrize("wrong", ["password", "port", "database"])
def test_a_database_that_does_not_let_us_in_is_named(site: Path, postgres: Postgres, wrong: str) -> None:
    url = f"postgresql://edgelift@127.0.0.1:{1 if wrong == 'port' else postgres.port}/" + (
        "nowhere" if wrong == "database" else "postgres"
    )
    password = "wrong-one" if wrong == "password" else PASSWORD
    for arguments in (["serve", "--port", "0", "--broker", "none"], ["releases"]):
        done = edgelift(*arguments, "--site", site, "--database", url, env={"PGPASSWORD": password})
        assert done.returncode == 1 and url in done.stderr, done.stderr
        assert "Traceback" not in done.stderr and password not in done.stderr and "fault" not in done.stderr
        assert ("(busy)" if wrong == "port" else "(bad-config)") in done.stderr


# ---------------------------------------------------------------- when it breaks


def test_a_database_that_is_killed_and_comes_back_has_all_that_was_acknowledged(
    own_postgres: Postgres, tmp_path: Path, releases: dict[str, Path]
) -> None:
    server = Server(make_site(tmp_path / "site", releases, own_postgres.database()), "--broker", "none").start()
    kept: dict[str, list[str]] = {f"pi-{i}": [] for i in range(4)}
    refused: set[str] = set()
    killed, back = threading.Event(), threading.Event()

    def tag(name: str) -> None:
        """Tags one by one, ten before the end and ten after it, each asked for until it is acknowledged."""
        for number in range(20):
            if number == 10:
                killed.wait(LONG_S)
            while True:
                try:
                    operator(server).post(f"/v1/devices/{name}/tags", TagsRequest(set={f"t{number}": ""}), dict)
                except EdgeliftError as error:
                    refused.add(error.code)
                    back.wait(LONG_S)
                else:
                    kept[name].append(f"t{number}")
                    break

    try:
        for name in kept:
            enrolled(server, name)
        threads = [threading.Thread(target=tag, args=(name,)) for name in kept]
        for thread in threads:
            thread.start()
        until(lambda: sum(map(len, kept.values())) >= 4)
        own_postgres.kill()
        killed.set()
        until(lambda: refused)
        assert operator_status(server) == 503
        own_postgres.start()
        back.set()
        for thread in threads:
            thread.join(LONG_S)
        assert refused == {"busy"}
        until(lambda: operator(server).get("/v1/health", ServerHealth).leads)
        for name, tags in kept.items():
            assert len(tags) == 20
            assert operator(server).get(f"/v1/devices/{name}", DeviceDetail).device.tags.keys() == set(tags)
    finally:
        assert server.stop() == 0
    assert "a fault" not in server.log.read_text()


def operator_status(server: Server) -> int:
    headers = {"Authorization": f"Bearer {server.operator}"}
    return requests.get(f"{server.url}/v1/devices", headers=headers, timeout=LONG_S).status_code
