"""A row that can't be read costs its own device: no page, no other device, no rollout; and it can be mended."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa

from edgelift_contract import codec, routes
from edgelift_contract.assignment import Policy, SlotAssignment
from edgelift_contract.errors import ContractError
from edgelift_contract.ids import LARGEST_COUNT
from edgelift_contract.report import SlotReport, UpdateReport
from edgelift_contract.telemetry import Batch, DeviceEvent, Gauges, Item
from edgelift_fleet.bodies import BODIES, PLAIN, Body
from edgelift_fleet.client import Client
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.mending import salvage
from edgelift_fleet.messages import (
    AssignReply,
    AssignRequest,
    DeviceDetail,
    DeviceSummary,
    MendReply,
    ReleaseView,
    RolloutRequest,
    RolloutView,
)
from edgelift_fleet.tables import (
    AlertDeliveryRow,
    Base,
    BundleBodyRow,
    BundleRow,
    DeviceRow,
    RolloutLookRow,
    RolloutWaveRow,
    TelemetryCohortRow,
    TelemetryCohortSumRow,
    UpdateTraceRow,
)
from edgelift_fleet.telemetry.cohort_sums import pack_sum
from edgelift_fleet.telemetry.cohorts import AskedCohorts
from edgelift_fleet.telemetry.fold import fold
from edgelift_fleet.telemetry.ranges import DAY
from edgelift_fleet.testing import FleetSimulator, SimulatedDevice, simulated_fleet, wait_until
from tests.fleet.conftest import Server, edgelift, make_site

pytestmark = pytest.mark.fleet

QUICK = Policy(probation_s=0, probation_min_requests=0)
BUNDLE = "b" * 32
ODD = ["{broken", '"text"', "[]", "{}", '{"schema":99}', "\ufffd", "[" * 5000]


def test_every_column_of_text_says_whether_it_holds_a_message() -> None:
    known = {f"{body.table.__tablename__}.{body.column}" for body in BODIES} | PLAIN
    found = {
        f"{table.name}.{column.name}"
        for table in Base.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, sa.Text | sa.LargeBinary)
    }
    assert found == known


class Operator:
    def __init__(self, server: Server) -> None:
        self.server, self.client = server, Client(server.url, server.operator)

    def device(self, name: str) -> DeviceDetail:
        return self.client.get(f"/v1/devices/{name}", DeviceDetail)

    def devices(self) -> dict[str, DeviceSummary]:
        return {one.device: one for one in self.client.get("/v1/devices", list[DeviceSummary])}

    def mend(self, name: str) -> MendReply:
        return self.client.post(f"/v1/devices/{name}/mend", {}, MendReply)

    def roll_out(self, release: str, to: str = "all") -> RolloutView:
        return self.client.post("/v1/rollouts", RolloutRequest(release, to, ["100%"], policy=QUICK), RolloutView)

    def show(self, rollout: RolloutView) -> RolloutView:
        return self.client.get(f"/v1/rollouts/{rollout.id}", RolloutView)

    def faults(self, name: str) -> list[tuple[str, str]]:
        return [(fault.what, fault.code) for fault in self.device(name).device.faults]

    def walk(self) -> None:
        """Every GET route answers, whatever the rows hold: a refusal by its code at worst, never a fault of ours."""
        values = {"device": ["pi-1", "pi-2"], "rollout": ["r1"], "release": ["digits@1"], "sha256": ["a" * 64],
                  "name": ["digits"], "version": ["1"], "code": ["not-found"], "bundle": [BUNDLE]}  # fmt: skip
        with requests.Session() as session:
            document = session.get(f"{self.server.url}/openapi.json", timeout=60).json()
            for path, methods in document["paths"].items():
                if "get" not in methods:
                    continue
                paths = [path.replace("/v1/names", "/v1/names?of=devices")]
                for name, several in values.items():
                    paths = [one.replace(f"{{{name}}}", value) for one in paths for value in several]
                for one in sorted(set(paths)):
                    assert "{" not in one, f"say in `values` what {path} may be asked for"
                    for token in (self.server.operator, self.server.token):
                        headers = {"Authorization": f"Bearer {token}"}
                        answer = session.get(self.server.url + one, headers=headers, timeout=60)
                        assert answer.status_code in (200, 304, 401, 404, 409), (
                            one,
                            answer.status_code,
                            answer.text,
                        )


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory: pytest.TempPathFactory, releases: dict[str, Path]) -> Iterator[Server]:
    """A server with something in every table: two devices that a rollout reached, and one that isn't there any more."""
    site = make_site(tmp_path_factory.mktemp("lived") / "site", releases)
    with (site / "site.toml").open("a") as file:  # whoever is told of nothing: what waits for others goes
        file.write('\n[[alerts.receivers]]\nname = "hook"\nkind = "ntfy"\n')
        file.write('url = "http://127.0.0.1:9/nobody"\n')
    server = Server(site, "--broker", "none").start()
    try:
        operator = Operator(server)
        with simulated_fleet(server.site) as simulator:
            simulator.add("pi-1", "pi-2")
            for name in ("pi-1", "pi-2"):
                operator.client.post(
                    f"/v1/devices/{name}/assign", AssignRequest("digits@1", policy=QUICK), AssignReply
                )
            wait_until(
                lambda: all(one.slots and one.slots[0].version == "1" for one in operator.devices().values())
            )
            done = operator.roll_out("digits@2")
            wait_until(lambda: operator.show(done).state == "done")
            for device in simulator.devices.values():
                device.deliver(DeviceEvent(at=time.time(), kind="odd"))
                gauges = Gauges(start=1.0, end=2.0, values={"soc_temp_c": 61.5})
                batch = Batch(schema=1, device=device.name, epoch="gauges-1", items=[Item(1, gauges=gauges)])
                device._call("POST", routes.telemetry_path(device.name), codec.canonical_json(batch))
            with closing(Database(server.site / "edgelift.db")) as db, db.write(SITE) as session:
                fold(session)
                asked = AskedCohorts()
                asked.note(frozenset(["pi-1", "pi-2"]), {DAY: int(time.time() * 1000)})
                asked.write(session, time.time())
                cohort = session.scalars(sa.select(TelemetryCohortRow.id)).one()
                session.merge(TelemetryCohortSumRow(cohort=cohort, level=DAY, start=0, body=pack_sum([])))
                session.merge(BundleRow(
                    id=BUNDLE, device="pi-1", state="brought", asked_at=1.0, asked_by="operator", why="", expires_at=2.0,
                    ended_at=2.0, sha256="a" * 64, size_bytes=3, kept=True, message="",
                ))  # fmt: skip
                session.flush()
                session.merge(BundleBodyRow(id=BUNDLE, device="pi-1", body=b"\x1f\x8b\x08"))
                session.merge(RolloutWaveRow(rollout=1, wave=0, began_at=1.0, alpha=0.01, controls="{}"))
                session.merge(AlertDeliveryRow(
                    receiver="hook", id="a", made_at=1.0, next_at=time.time() + 600, taken_until=0.0, tries=0,
                    given_up_at=0.0, error="", body="{}",
                ))  # fmt: skip
                session.merge(UpdateTraceRow(device="pi-1", body="{}"))
                look = {"at": 2.0, "breach": False, "text": "no breach", "measured": "{}"}
                session.merge(RolloutLookRow(rollout=1, wave=0, number=1, **look))
        yield server
    finally:
        server.stop()


@contextmanager
def database(server: Server) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(server.site / "edgelift.db", timeout=60)) as connection, connection:
        yield connection


def names(body: Body) -> list[str]:
    return [column.name for column in body.table.__table__.columns]


@contextmanager
def damaged(server: Server, body: Body, value: str) -> Iterator[None]:
    """While the block runs, what a column holds of pi-1 (or of the release, the rollout) is `value`."""
    table, column = body.table.__tablename__, body.column
    odd: object = value
    if isinstance(body.table.__table__.c[column].type, sa.LargeBinary):
        odd = value.encode()
    owner = "id" if body.table is DeviceRow else "device"
    where = f"WHERE {owner} = 'pi-1'" if {"device", "id"} & set(names(body)) and body.mine else ""
    with database(server) as connection:
        keys = ", ".join(key.name for key in body.table.__table__.primary_key)
        same = " AND ".join(f"{key.name} = ?" for key in body.table.__table__.primary_key)
        kept = connection.execute(f"SELECT {column}, {keys} FROM {table} {where}").fetchall()
        assert kept, table
        connection.execute(f"UPDATE {table} SET {column} = ? {where}", (odd,))
    try:
        yield
    finally:
        with database(server) as connection:
            connection.executemany(f"UPDATE {table} SET {column} = ? WHERE {same}", kept)


@pytest.mark.parametrize("body", BODIES, ids=lambda body: f"{body.table.__tablename__}.{body.column}")
def test_whatever_a_column_holds_every_page_answers_and_others_are_as_they_were(
    lived_in: Server, body: Body
) -> None:
    operator = Operator(lived_in)
    before = operator.device("pi-2")
    for value in ODD:
        with damaged(lived_in, body, value):
            operator.walk()
            after = operator.device("pi-2")
            assert (after.device.slots, after.facts, after.history) == (
                before.device.slots, before.facts, before.history,
            )  # fmt: skip
            assert operator.device("pi-2").device.faults == []
            assert set(operator.devices()) >= {"pi-1", "pi-2"}


def test_bytes_that_are_no_text_cost_their_row(lived_in: Server) -> None:
    with database(lived_in) as connection:
        connection.execute("UPDATE slot_state SET last_update = CAST(x'ff00fe' AS TEXT) WHERE device = 'pi-1'")
    operator = Operator(lived_in)
    operator.walk()
    assert operator.faults("pi-1") == [("last update", "unreadable-row")]
    assert operator.mend("pi-1").dropped == ["last update"]
    assert operator.faults("pi-1") == []


#: Those that a device's page reads and says so of; others are left out where they are read.
SHOWN = [
    next(body for body in BODIES if body.what == what)
    for what in ("facts", "last update", "update history", "assignment", "telemetry")
]


@pytest.fixture
def one(server: Server) -> Iterator[SimulatedDevice]:
    """A device that lives on, with something in every row of its own."""
    with simulated_fleet(server.site) as simulator:
        FleetSimulator.add(simulator, "pi-1", "pi-2")
        operator = Operator(server)
        done = operator.roll_out("digits@1")
        wait_until(lambda: operator.show(done).state == "done")
        device = simulator.devices["pi-1"]
        device.deliver(DeviceEvent(at=time.time(), kind="odd"))
        yield device


def test_a_device_is_shown_as_set_apart_and_mended(server: Server, one: SimulatedDevice) -> None:
    operator = Operator(server)
    for body in SHOWN:
        owner = "id" if body.table is DeviceRow else "device"
        with database(server) as connection:
            connection.execute(
                f"UPDATE {body.table.__tablename__} SET {body.column} = '{{broken' WHERE {owner} = 'pi-1'"
            )
        assert (body.what, "unreadable-row") in operator.faults("pi-1"), body
        said = edgelift("devices", "show", "pi-1", "--site", server.site).stdout
        assert f"{body.what} of pi-1 can't be read" in said and "edgelift devices mend pi-1" in said
    listed = edgelift("devices", "--site", server.site).stdout
    assert "SET APART: assignment, facts, last update" in listed
    mended = edgelift("devices", "mend", "pi-1", "--site", server.site)
    assert mended.returncode == 0 and "dropped facts, last update, update history, telemetry" in mended.stdout
    assert operator.faults("pi-1") == []
    # It says all afresh: what was dropped comes again by itself, and it still runs what it ran.
    wait_until(lambda: operator.device("pi-1").facts.runtimes, what="its facts")
    wait_until(lambda: operator.device("pi-1").device.slots[0].update, what="its update")
    assert operator.device("pi-1").device.slots[0].version == "1"
    assert operator.device("pi-1").device.slots[0].desired.version == "1"


def test_a_rollout_goes_on_without_a_device_that_is_set_apart(server: Server, one: SimulatedDevice) -> None:
    operator = Operator(server)
    with database(server) as connection:
        connection.execute("UPDATE assignment SET body = '{broken' WHERE device = 'pi-1'")
    rollout = operator.roll_out("digits@2")
    done = wait_until(lambda: (view := operator.show(rollout)).state == "done" and view)
    found = {device.device: device for device in done.devices}
    assert found["pi-2"].status == "committed"
    assert found["pi-1"].status not in ("committed", "failed") and "can't be read" in found["pi-1"].message
    assert operator.device("pi-2").device.slots[0].version == "2"


# K1: the last revision.


def test_a_board_at_the_end_of_the_revisions_costs_itself_alone(server: Server, one: SimulatedDevice) -> None:
    operator = Operator(server)
    liar = SimulatedDevice(server.url, server.token, "pi-1")
    liar.epoch, liar.revision = "forged-1", LARGEST_COUNT
    liar.report()
    assert operator.faults("pi-1") == [("revision", "revisions-spent")]
    with pytest.raises(ContractError, match="no assignment can follow") as caught:
        operator.client.post("/v1/devices/pi-1/assign", AssignRequest("digits@2"), AssignReply)
    assert caught.value.code == "revisions-spent" and "state.db" in caught.value.hint
    rollout = operator.roll_out("digits@2")
    done = wait_until(lambda: (view := operator.show(rollout)).state == "done" and view)
    assert [d.device for d in done.devices if d.status == "committed"] == ["pi-2"]
    operator.walk()
    server.stop()
    server.start()
    operator = Operator(server)
    operator.walk()
    one.url = server.url
    assert operator.mend("pi-1").dropped == ["revision"]
    assert operator.faults("pi-1") == []
    # The honest board, whose words were pushed aside by the forged epoch, is heard again.
    assert operator.client.post(
        "/v1/devices/pi-1/assign", AssignRequest("digits@2", policy=QUICK), AssignReply
    ).changed
    wait_until(lambda: operator.device("pi-1").device.slots[0].version == "2", what="the honest board")


# Assignments are saved slot by slot.


def slot(version: str) -> dict[str, Any]:
    return {"artifact": "a" * 64, "manifest_bytes": 9, "model": "digits", "version": version}


@pytest.mark.parametrize(
    ("body", "kept", "lost"),
    [
        ({"slots": {"a": slot("1"), "b": slot("2")}, "revision": 2**53 + 1}, ["a", "b"], []),
        ({"slots": {"a": slot("1"), "b": {"artifact": 5}}}, ["a"], ["b"]),
        ({"slots": {"a": slot("1"), "B/": slot("1")}}, ["a"], ["B/"]),
        ({"slots": [1]}, [], []),
        ({}, [], []),
        ([], [], []),
    ],
)
def test_what_can_be_read_of_an_assignment_is_kept(body: Any, kept: list[str], lost: list[str]) -> None:
    found, gone = salvage(json.dumps(body))
    assert (sorted(found), gone) == (kept, lost)
    assert all(isinstance(one, SlotAssignment) for one in found.values())


def test_an_assignment_that_nothing_is_left_of_is_rebuilt_from_what_serves(
    server: Server, one: SimulatedDevice
) -> None:
    operator = Operator(server)
    before = operator.device("pi-1").device.revision
    with database(server) as connection:
        connection.execute("UPDATE assignment SET body = '' WHERE device = 'pi-1'")
    reply = operator.mend("pi-1")
    assert (reply.revision, reply.lost) == (before + 1, [])
    assert operator.device("pi-1").device.slots[0].desired.version == "1"


def test_where_nothing_is_known_nothing_is_assigned_and_the_device_keeps_what_it_has(server: Server) -> None:
    operator = Operator(server)
    board = SimulatedDevice(server.url, server.token, "pi-3")
    board.epoch = "boot-1"
    board.enrol()
    update = UpdateReport("f" * 64, "digits", "9", outcome="committed")
    board.slots = {"digits": SlotReport("serving", 1, "f" * 64, "digits", "9", 1.0, update)}
    board.report()
    operator.client.post("/v1/devices/pi-3/assign", AssignRequest("digits@1"), AssignReply)
    with database(server) as connection:
        connection.execute("UPDATE assignment SET body = '{' WHERE device = 'pi-3'")
    assert operator.mend("pi-3").revision is None
    answer = requests.get(
        f"{server.url}/v1/devices/pi-3/desired", headers={"Authorization": f"Bearer {server.token}"}, timeout=60
    )
    assert answer.status_code == 304


def test_a_release_that_can_t_be_read_is_mended_by_publishing_it_again(
    server: Server, releases: dict[str, Path]
) -> None:
    operator = Operator(server)
    with database(server) as connection:
        connection.execute("UPDATE release SET body = '{' WHERE version = '1'")
    shown = {one.version: one.fault for one in operator.client.get("/v1/releases", list[ReleaseView])}
    assert "Publish it again." in shown["1"] and shown["2"] == ""
    assert "can't be read" in edgelift("releases", "--site", server.site).stdout
    assert edgelift("publish", releases["digits@1"], "--site", server.site).returncode == 0
    assert {one.fault for one in operator.client.get("/v1/releases", list[ReleaseView])} == {""}
