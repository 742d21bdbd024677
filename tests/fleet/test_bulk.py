"""Assigning to many devices at once: what each got, and what is wrong with one costs that one."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from edgelift_contract.assignment import Assignment, Policy
from edgelift_contract.enrol import EnrolRequest
from edgelift_contract.errors import ContractError
from edgelift_contract.report import DeviceFacts, UpdateReport
from edgelift_fleet.bulk import assign_many
from edgelift_fleet.changes import Changes
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.devices import enrol
from edgelift_fleet.messages import AssignManyRequest, AssignOutcome
from edgelift_fleet.site import load_site
from edgelift_fleet.tables import AssignmentRow, DeviceRow, SlotStateRow
from edgelift_fleet.testing import wait_until
from tests.fleet.conftest import edgelift, make_site

pytestmark = pytest.mark.fleet

PI = DeviceFacts("arm64-neon", ["arm64-neon"], {"onnxruntime": "1.30.0"})
NANO = DeviceFacts("jetson-maxwell", ["jetson-maxwell"], {"onnxruntime": "1.30.0"})


class Bench:
    def __init__(self, db: Database) -> None:
        self.db, self.changes, self.told = db, Changes(), []
        self.changes.subscribe(self.told.append)

    def assign(self, to: str = "all", release: str = "digits@2", **options: object) -> dict[str, AssignOutcome]:
        return {
            one.device: one
            for one in assign_many(self.db, self.changes, AssignManyRequest(release, to, **options))
        }


@pytest.fixture
def bench(tmp_path: Path, releases: dict[str, Path]) -> Iterator[Bench]:
    site = load_site(make_site(tmp_path / "site", releases))
    with contextlib.closing(Database(site.database)) as db:
        with db.write(SITE) as session:
            for n in range(1, 5):
                enrol(session, EnrolRequest(schema=1, device=f"pi-{n}", facts=PI))
            enrol(session, EnrolRequest(schema=1, device="nano-1", facts=NANO))
        yield Bench(db)


def test_everybody_gets_what_suits_and_is_told(bench: Bench) -> None:
    found = bench.assign()
    assert {d: one.outcome for d, one in found.items()} == {
        "nano-1": "refused", "pi-1": "assigned", "pi-2": "assigned", "pi-3": "assigned", "pi-4": "assigned",
    }  # fmt: skip
    assert found["nano-1"].code == "wrong-hardware-class" and sorted(bench.told) == [
        "pi-1",
        "pi-2",
        "pi-3",
        "pi-4",
    ]
    again = bench.assign("id:pi-*")
    assert {one.outcome for one in again.values()} == {"unchanged"} and len(bench.told) == 4
    back = bench.assign("ids:pi-1,pi-9", "digits@1", policy=Policy(allow_older=True))
    assert (back["pi-1"].outcome, back["pi-1"].revision) == ("assigned", 2)
    assert (back["pi-9"].outcome, back["pi-9"].code) == ("refused", "not-found")


def test_who_failed_at_it_is_asked_again(bench: Bench) -> None:
    artifact = bench.assign("id:pi-1")["pi-1"].artifact
    failed = UpdateReport(artifact=artifact, revision=1, outcome="refused", code="disk-full")
    with bench.db.write(SITE) as session:
        session.add(SlotStateRow(
            device="pi-1", slot="digits", state="empty", generation=0, artifact="", model="", version="", since=0.0,
            last_update=msgspec.json.encode(failed).decode(),
        ))  # fmt: skip
    assert bench.assign("id:pi-1")["pi-1"].revision == 2
    with bench.db.read() as session:
        body = session.get_one(AssignmentRow, "pi-1").body
    assert msgspec.json.decode(body, type=Assignment).slots["digits"].asked == 2


def test_a_row_that_cannot_be_read_costs_its_device(bench: Bench) -> None:
    bench.assign("id:pi-2")
    with bench.db.write(SITE) as session:
        session.get_one(DeviceRow, "pi-1").facts = "{"
        session.get_one(AssignmentRow, "pi-2").body = "{"
    found = bench.assign("id:pi-*", "digits@3")
    assert {d: (one.outcome, one.code) for d, one in found.items()} == {
        "pi-1": ("refused", "unreadable-row"), "pi-2": ("refused", "unreadable-row"),
        "pi-3": ("assigned", ""), "pi-4": ("assigned", ""),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("to", "release", "code"),
    [("tag:barn", "digits@2", "not-found"), ("barn", "digits@2", "bad-id"), ("all", "digits@9", "not-found")],
)
def test_what_is_wrong_with_all_of_it(bench: Bench, to: str, release: str, code: str) -> None:
    with pytest.raises(ContractError) as refused:
        bench.assign(to, release)
    assert refused.value.code == code and bench.told == []


def test_many_take_a_few_statements_and_none_is_lost(bench: Bench) -> None:
    with bench.db.write(SITE) as session:
        rows = [
            {"id": f"d-{n:04}", "enrolled_at": time.time(), "facts": msgspec.json.encode(PI).decode()}
            for n in range(450)
        ]
        session.execute(sa.insert(DeviceRow), rows)
    seen: list[str] = []
    sa.event.listen(bench.db.engine, "before_cursor_execute", lambda _c, _cur, text, *_: seen.append(text))
    found = bench.assign("id:d-*")
    assert {one.outcome for one in found.values()} == {"assigned"} and len(found) == 450
    assert len(seen) < 40


def test_over_the_command(server, fleet) -> None:
    fleet.add("pi-1", "pi-2")
    at = ("--site", server.site)
    done = edgelift("assign", "digits@1", "--to", "id:pi-*", "--probation", "0s", "--min-requests", 0, *at)
    assert done.returncode == 0 and "2 assigned" in done.stdout and "pi-2: assigned digits@1" in done.stdout, (
        done.stderr
    )

    def serve() -> bool:
        found = json.loads(edgelift("devices", "--json", *at).stdout)
        return [slot["version"] for device in found for slot in device["slots"]] == ["1", "1"]

    wait_until(serve)
    for words in (("--to", "id:pi-1", "-d", "pi-2"), ()):
        wrong = edgelift("assign", "digits@1", *words, *at)
        assert wrong.returncode == 1 and "--device" in wrong.stderr
    partly = edgelift("assign", "digits@2", "--to", "ids:pi-1,pi-9", "--json", *at)
    assert partly.returncode == 1
    assert [one["outcome"] for one in json.loads(partly.stdout)] == ["assigned", "refused"]
    named = edgelift("assign", "digits@1", "-d", "pi-9", "-d", "pi-2", "--json", *at)
    assert named.returncode == 1 and named.stdout.count("\n") == 1, (
        "one of two that is not there stopped the other"
    )
    assert [one["outcome"] for one in json.loads(named.stdout)] == ["assigned", "refused"]
