"""The disk under PostgreSQL fills up while a site serves: it says so, loses nothing that it took, and goes on with room."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests
import sqlalchemy as sa

from edgelift_contract import codec, routes
from edgelift_contract.enrol import EnrolRequest
from edgelift_contract.errors import DeviceError
from edgelift_contract.report import DeviceFacts
from edgelift_fleet.client import Client
from edgelift_fleet.db import Database
from edgelift_fleet.keeping.backup import verify
from edgelift_fleet.keeping.restore import restore
from tests.fleet.conftest import Server, make_site
from tests.fleet.postgres import Postgres
from tests.fleet.test_restore import contents, take
from tests.simulators.small_disk import SmallDisk, small_disk
from tests.waiting import LONG_S, until

pytestmark = pytest.mark.fleet


@pytest.fixture
def cluster(postgres_programs: Path, _template: Path) -> Iterator[tuple[Postgres, SmallDisk]]:
    """A cluster whose data are on a disk of their own."""
    made = Postgres(postgres_programs, _template)
    try:
        with small_disk(made.folder / "disk", "size=160m,mode=755") as disk:
            subprocess.run([*disk.within, "cp", "-a", made.data, made.folder / "disk"], check=True)
            made.data = made.folder / "disk" / "data"
            who = f"setpriv --reuid={made._who['user']} --regid={made._who['group']} --clear-groups"
            program = made.folder / "postgres"
            words = [*disk.within[:-1], "--wd=/", who, f"{postgres_programs}/postgres", '"$@"']
            program.write_text(f"#!/bin/sh\nexec {' '.join(words)}\n")
            program.chmod(0o755)
            made._programs, made._who = made.folder, {}
            yield made.start(), disk
            made.stop()
    finally:
        made.remove()


def enrol(server: Server, name: str) -> str:
    """The code of the refusal; empty once it is taken."""
    facts = DeviceFacts("x86-64-avx2", ["x86-64-avx2"], {"onnxruntime": "1.30.0"})
    request = EnrolRequest(schema=1, device=name, facts=facts, tags={f"t{n}": "x" * 60 for n in range(16)})
    answer = requests.post(
        server.url + routes.ENROL, codec.canonical_json(request), timeout=LONG_S,
        headers={"Authorization": f"Bearer {server.token}"},
    )  # fmt: skip
    return "" if answer.status_code == 200 else answer.json()["code"]


def test_a_full_disk_is_told_and_costs_nothing_that_was_taken(
    cluster: tuple[Postgres, SmallDisk], releases: dict[str, Path], tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    postgres, disk = cluster
    site, other = make_site(tmp_path / "site", releases, postgres.database()), postgres.database("other")
    server = Server(site, "--broker", "none").start()
    try:
        disk.fill()
        taken, code = [], ""
        while not code:
            assert len(taken) < 2000
            code = enrol(server, f"pi-{len(taken)}")
            taken += [] if code else [f"pi-{len(taken)}"]
        assert code == "disk-full"
        ask = Client(server.url, server.operator)
        names = [one["device"] for one in ask.get("/v1/devices?limit=1000", list)]
        assert sorted(names) == sorted(taken)
        # Reading needs no room: this is the moment to save the site.
        take(site, tmp_path / "full.tar", with_secrets=True)
        assert verify(tmp_path / "full.tar").devices == len(taken)
        with pytest.raises(DeviceError) as refusal:
            restore(tmp_path / "full.tar", tmp_path / "new", database=other)
        assert refusal.value.code == "disk-full"
        assert not (tmp_path / "new").exists()

        disk.clear()
        with closing(Database(other)) as db, db.read() as session:
            assert sa.inspect(session.connection()).get_table_names() == []
        until(lambda: enrol(server, f"pi-{len(taken)}") == "", "room")
        names = [one["device"] for one in ask.get("/v1/devices?limit=1000", list)]
        assert sorted(names) == sorted([*taken, f"pi-{len(taken)}"])
    finally:
        assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()
    restore(tmp_path / "full.tar", tmp_path / "new", database=other)
    assert len(contents(tmp_path / "new")["device"]) == len(taken)
    assert postgres.process is not None and postgres.process.poll() is None
