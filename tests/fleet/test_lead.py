"""Several servers of one site: one acts, and whatever ends it, another goes on where it was."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from edgelift_contract.assignment import Policy
from edgelift_contract.errors import TransportError
from edgelift_fleet.client import Client
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.engines import LOCK_SPACE
from edgelift_fleet.exchange import exchange
from edgelift_fleet.lead import Lead
from edgelift_fleet.messages import RolloutRequest, RolloutView, ServerHealth
from edgelift_fleet.sightings import Caller, Sightings
from edgelift_fleet.site import load_site
from edgelift_fleet.tables import AssignmentRow, ControlRow, UpdateHistoryRow
from edgelift_fleet.testing import Behaviour, FleetSimulator
from tests.fleet.conftest import Server, edgelift
from tests.fleet.postgres import Postgres
from tests.simulators.balancer import Balancer
from tests.waiting import until

pytestmark = pytest.mark.fleet

_HOLDERS = (
    f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = {LOCK_SPACE + 1} AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def operator(server: Server) -> Client:
    return Client(server.url, server.operator)


def leads(server: Server) -> bool:
    return operator(server).get("/v1/health", ServerHealth).leads


def replica(site: Path, name: str) -> Path:
    """Another server's folder of the same site, as the handbook says: `site.toml` and the secrets, copied."""
    folder = site.parent / name
    folder.mkdir()
    shutil.copy(site / "site.toml", folder)
    shutil.copytree(site / "secrets", folder / "secrets")
    (folder / "blobs").symlink_to(site / "blobs")
    return folder


@pytest.fixture
def opened(postgres_url: str) -> Iterator[list[Database]]:
    with ExitStack() as stack:
        made = [stack.enter_context(closing(Database(postgres_url))) for _ in range(2)]
        made[0].migrate()
        yield made


def test_one_leads_until_it_ends_and_then_the_other(opened: list[Database]) -> None:
    told: list[tuple[str, bool]] = []
    first, second = Lead(opened[0]), Lead(opened[1])
    first.subscribe(lambda leads: told.append(("first", leads)))
    second.subscribe(lambda leads: told.append(("second", leads)))
    with second:
        until(lambda: second.leads)
        with first:
            assert not first.wait(1) and not first.leads and "pid" in first.holder()
            with pytest.raises(TransportError), first.write(SITE):
                raise AssertionError("it must not come here")
            second.__exit__()
            until(lambda: first.leads)
    assert told == [("second", True), ("second", False), ("first", True), ("first", False)]


def test_a_leader_that_lost_its_connection_stops_at_once(opened: list[Database], postgres: Postgres) -> None:
    lead = Lead(opened[0])
    changes: list[bool] = []
    lead.subscribe(changes.append)
    with lead:
        until(lambda: lead.leads)
        with opened[1].read() as session:
            held = session.execute(sa.text(_HOLDERS)).scalars().all()
            session.execute(sa.text(f"SELECT pg_terminate_backend({held[-1]})"))
        until(lambda: changes == [True, False, True])
        with lead.write(SITE) as session:
            assert session.get_one(ControlRow, "term").value == "2"


def test_what_a_leader_began_before_another_took_over_is_refused(opened: list[Database]) -> None:
    """As one that hung: by its own clock it still leads."""
    lead = Lead(opened[0])
    with lead:
        until(lambda: lead.leads)
        with opened[1].write(SITE) as session:
            session.get_one(ControlRow, "term").value = "7"
        with pytest.raises(TransportError) as refused, lead.write(SITE):
            raise AssertionError("it must not come here")
        assert refused.value.code == "busy"


def test_on_sqlite_the_only_server_leads(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "x.db")) as db:
        db.migrate()
        lead = Lead(db)
        with pytest.raises(TransportError), lead.write(SITE):
            raise AssertionError("it must not come here")
        with lead, lead.write(SITE):
            assert lead.leads and lead.wait(0)


def test_who_begins_to_listen_while_the_others_are_told_hears_it_once(tmp_path: Path) -> None:
    heard: list[bool] = []
    with closing(Database(tmp_path / "x.db")) as db:
        db.migrate()
        lead = Lead(db)
        lead.subscribe(lambda leads: lead.subscribe(heard.append) if leads else None)
        with lead:
            assert heard == [True]
    assert heard == [True, False]


@pytest.mark.broker
@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_a_second_server_with_a_broker_of_its_own_is_refused(site: Path, mosquitto_program: str) -> None:
    first = Server(site).start()
    try:
        other = replica(site, "other")
        second = edgelift("serve", "--site", other, "--port", 0)
        assert second.returncode == 1 and "another server leads" in second.stderr, second.stderr
        assert f"pid {first.process.pid}" in second.stderr
    finally:
        assert first.stop() == 0


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_a_leader_is_killed_in_a_wave_and_the_rollout_goes_on_without_doubling_anything(site: Path) -> None:
    servers = [Server(site, "--broker", "none").start(), Server(replica(site, "two"), "--broker", "none").start()]
    gate = threading.Event()
    devices = [f"pi-{i}" for i in range(6)]
    with Balancer(*(server.url for server in servers)) as balancer:
        fleet = FleetSimulator(site)
        fleet.url = balancer.url
        try:
            fleet.add(*devices, behaviour=Behaviour(gate=gate), tags={"barn": ""})
            one, two = servers if leads(servers[0]) else servers[::-1]
            asked = RolloutRequest(
                release="digits@2", to="tag:barn", waves=["2", "100%"], policy=Policy(probation_s=0.1)
            )
            rollout = (
                operator(two).post("/v1/rollouts", asked, RolloutView).id
            )  # asked of the one that doesn't lead
            until(lambda: operator(two).get(f"/v1/rollouts/{rollout}", RolloutView).reached == 2)
            one.stop(signal.SIGKILL)
            gate.set()
            until(lambda: operator(two).get(f"/v1/rollouts/{rollout}", RolloutView).state == "done")
            found = operator(two).get(f"/v1/rollouts/{rollout}", RolloutView)
            assert leads(two) and found.committed == 6 and found.failed == 0
            assert [event.kind for event in found.events].count("wave") == 2
            with closing(Database(load_site(site).database)) as db, db.read() as session:
                assert sorted(session.scalars(sa.select(AssignmentRow.revision))) == [1] * 6
                assert sorted(session.scalars(sa.select(UpdateHistoryRow.device))) == devices
                assert session.get_one(ControlRow, "term").value == "2"
        finally:
            gate.set()
            fleet.stop()
            for server in servers:
                server.stop()


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_a_leader_that_hangs_is_replaced_and_does_not_lead_when_it_wakes_up(
    site: Path, postgres: Postgres
) -> None:
    hangs, other = (Server(folder, "--broker", "none").start() for folder in (site, replica(site, "two")))
    try:
        if not leads(hangs):
            hangs, other = other, hangs
        until(lambda: leads(hangs))
        hangs.process.send_signal(signal.SIGSTOP)
        until(lambda: leads(other))
        hangs.process.send_signal(signal.SIGCONT)
        until(lambda: not leads(hangs))
        assert leads(other)
        other.stop()
        until(lambda: leads(hangs))
    finally:
        hangs.process.send_signal(signal.SIGCONT)
        assert {hangs.stop(), other.stop()} == {0}


def test_two_boards_of_one_id_are_found_though_each_is_heard_by_another_server(opened: list[Database]) -> None:
    heard = [Sightings(), Sightings()]
    for one in heard:
        one.shared = True
    for _ in range(10):
        for database, sightings, epoch in zip(opened, heard, ("boot-1", "boot-2"), strict=True):
            sightings.hear("pi-1", Caller(epoch, f"of {epoch}"), via="http")
            sightings.hear("pi-2", Caller("boot-9", "anywhere"), via="http")  # one board, balanced over both
            exchange(database, sightings)
    for sightings in heard:
        assert {one.epoch for one in sightings.duplicates("pi-1")} == {"boot-1", "boot-2"}
        assert sightings.duplicates("pi-2") == []
