"""A site's backup and its restore, by the commands: while it serves, verified, refused, and with devices that went on."""

import json
import shutil
import sqlite3
import stat
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edgelift_agent.testing.ports import free_port
from edgelift_fleet.messages import AssignManyRequest, AssignOutcome, DeviceSummary, ReleaseView
from edgelift_fleet.messages.keeping import BackupReport, RestoreReport
from edgelift_fleet.testing import FleetSimulator, simulated_fleet, wait_until
from tests.fleet.conftest import Server, edgelift
from tests.fleet.operating import QUICK, Operator
from tests.fleet.test_simulate import living

pytestmark = pytest.mark.fleet


def take(site: Path, out: Path, *options: str) -> BackupReport:
    done = edgelift("backup", out, "--site", site, "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def put_back(backup: Path, folder: Path, *options: str) -> RestoreReport:
    done = edgelift("restore", backup, folder, "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def lasting(site: Path, mosquitto_program: str) -> Iterator[Server]:
    """A server whose devices find it again at the same ports, whatever folder is under it."""
    with Server(site, "--port", str(free_port()), "--mqtt-port", str(free_port())) as made:
        yield made


@pytest.fixture
def boards(lasting: Server) -> Iterator[FleetSimulator]:
    with simulated_fleet(lasting.site) as fleet:
        yield fleet


def test_devices_that_went_on_end_at_what_is_assigned_after_the_restore(
    lasting: Server, boards: FleetSimulator, tmp_path: Path
) -> None:
    boards.add("pi-1")
    boards.add("pi-2", mqtt=True)
    operator = Operator(lasting)
    operator.assign("digits@1", "pi-1", "pi-2")
    wait_until(lambda: operator.versions("pi-1", "pi-2") == ["1", "1"])
    out = tmp_path / "site.tar"
    made = take(lasting.site, out, "--with-secrets")
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert made["devices"] == 2
    for release in ("digits@2", "digits@3"):
        operator.assign(release, "pi-1", "pi-2")
    wait_until(lambda: operator.versions("pi-1", "pi-2") == ["3", "3"])
    boards.add("pi-3")
    operator.assign("digits@2", "pi-3")
    wait_until(lambda: operator.versions("pi-3") == ["2"])

    lasting.stop()
    shutil.rmtree(lasting.site)
    restored = put_back(out, lasting.site)
    assert (restored["missing"], restored["holds"]) == ([], True)
    lasting.start()
    operator = Operator(lasting)
    # They run something else, perhaps for a reason that the backup doesn't know: they are listed, and stay.
    wait_until(lambda: set(shown(lasting)) == {("pi-1", "digits@1", "3"), ("pi-2", "digits@1", "3")})
    assert operator.versions("pi-1", "pi-2") == ["3", "3"]
    assert "Told: 2 devices" in edgelift("restored", "--tell", "--site", lasting.site).stdout
    # The host's word of then holds, under a number above all that they have seen.
    wait_until(lambda: operator.versions("pi-1", "pi-2") == ["1", "1"])
    for device in ("pi-1", "pi-2"):
        wait_until(
            lambda device=device: operator.detail(device).device.revision == boards.devices[device].revision
        )
        assert operator.detail(device).device.revision == 4
    # A device that enrolled since keeps what it has, and is there again.
    wait_until(lambda: operator.versions("pi-3") == ["2"])
    operator.assign("digits@3", "pi-1", "pi-2", "pi-3")
    wait_until(lambda: operator.versions("pi-1", "pi-2", "pi-3") == ["3", "3", "3"])


def shown(server: Server) -> list[tuple[str, str, str]]:
    found = json.loads(edgelift("restored", "--site", server.site, "--json").stdout)
    return [(one["device"], one["says"], one["runs"]) for one in found["went_on"]]


def refused(*arguments: object) -> str:
    done = edgelift(*arguments)
    assert done.returncode == 1, done.stdout
    return done.stderr


def test_what_exists_is_not_overwritten(idle_site: Path, tmp_path: Path) -> None:
    out = tmp_path / "site.tar"
    take(idle_site, out)
    before = out.read_bytes()
    assert "already" in refused("backup", out, "--site", idle_site)
    assert out.read_bytes() == before
    assert "There is a site in" in refused("restore", out, idle_site)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site.tar"]


def test_a_damaged_or_truncated_backup_is_told_and_restores_nothing(idle_site: Path, tmp_path: Path) -> None:
    whole = tmp_path / "site.tar"
    take(idle_site, whole)
    data = whole.read_bytes()
    assert edgelift("backup", "--verify", whole).returncode == 0
    with tarfile.open(whole) as tar:
        at = max(tar.getmembers(), key=lambda member: member.size).offset_data + 10
    cases = {"flipped": data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], "none": b"", "text": b"hello\n" * 500}
    written = len(data.rstrip(b"\0"))  # tar fills its last 10 KB up: without those nothing is lost
    cases |= {f"cut-{n}": data[: written * n // 8] for n in range(1, 8)}
    for name, bad in cases.items():
        path = tmp_path / name
        path.write_bytes(bad)
        said = refused("restore", path, tmp_path / "new")
        assert any(code in said for code in ("digest-mismatch", "cut-short", "malformed")), (name, said)
        assert not (tmp_path / "new").exists()
        path.unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site.tar"]


def test_a_rollout_after_the_restore_reaches_boards_that_had_its_release_already(
    lasting: Server, boards: FleetSimulator, tmp_path: Path
) -> None:
    """Its number must not be one that they know: to the same release for the same rollout they would say nothing new."""
    boards.add("pi-1", tags={"demo": ""})
    boards.add("pi-2", tags={"demo": ""}, mqtt=True)
    operator = Operator(lasting)
    take(lasting.site, tmp_path / "site.tar", "--with-secrets")
    before = operator.start("digits@1", waves="100%", gates=[])
    operator.wait(before, "done")

    lasting.stop()
    shutil.rmtree(lasting.site)
    put_back(tmp_path / "site.tar", lasting.site)
    lasting.start()
    operator = Operator(lasting)
    wait_until(lambda: operator.versions("pi-1", "pi-2") == ["1", "1"], what="their word of what they serve")
    after = operator.start("digits@1", waves="100%", gates=[])
    done = operator.wait(after, "done")
    assert {device.device: device.status for device in done.devices} == {"pi-1": "committed", "pi-2": "committed"}
    assert [boards.devices[name].slots["digits"].generation for name in ("pi-1", "pi-2")] == [1, 1]


def test_a_release_that_is_deleted_goes_with_its_blobs_an_hour_later(
    site: Path, releases: dict[str, Path]
) -> None:
    server = Server(site, "--broker", "none").start()
    try:
        operator = Operator(server)
        before = {path.name for path in (site / "blobs").iterdir() if path.is_file()}
        operator.client.delete("/v1/releases/digits/3", ReleaseView)
        found = edgelift("blobs", "collect", "--site", site)
        assert "Deleted: 0 blobs" in found.stdout
        assert "Not yet: " in found.stdout
        with closing(sqlite3.connect(site / "edgelift.db")) as db:  # an hour passes
            marked = {name for (name,) in db.execute("select sha256 from unnamed_blob")}
            db.execute("update unnamed_blob set since = since - 3700")
            db.commit()
        would = edgelift("blobs", "collect", "--site", site, "--dry-run")
        assert "Would be deleted: " in would.stdout
        assert {path.name for path in (site / "blobs").iterdir() if path.is_file()} == before
        done = edgelift("blobs", "collect", "--site", site, "--json")
        report = json.loads(done.stdout)
        left = {path.name for path in (site / "blobs").iterdir() if path.is_file()}
        assert before - left == {one["sha256"] for one in report["blobs"]}
        assert before - left <= marked
        assert report["collected"] == len(before - left) > 0
        assert edgelift("publish", releases["digits@3"], "--site", site).returncode == 0
        assert {path.name for path in (site / "blobs").iterdir() if path.is_file()} == before
    finally:
        server.stop()


def test_simulated_boards_are_told_anew_too(lasting: Server, tmp_path: Path) -> None:
    with living(lasting, 6) as simulation:

        def assign(release: str) -> None:
            wanted = AssignManyRequest(release=release, to="all", policy=QUICK)
            Operator(lasting).client.post("/v1/assign", wanted, list[AssignOutcome])

        def fleet() -> list[DeviceSummary]:
            return Operator(lasting).client.get("/v1/devices", list[DeviceSummary])

        def all_at(version: str, revision: int) -> None:
            def are() -> bool:
                found = fleet()
                at = {
                    (one.slots[0].version if one.slots else "", one.revision_seen, one.revision) for one in found
                }
                return len(found) == 6 and at == {(version, revision, revision)}

            wait_until(are, what=f"all at {version}")

        assign("digits@1")
        all_at("1", 1)
        take(lasting.site, tmp_path / "site.tar", "--with-secrets")
        for number in (2, 3):
            assign(f"digits@{number}")
            all_at(str(number), number)
        lasting.stop()
        shutil.rmtree(lasting.site)
        put_back(tmp_path / "site.tar", lasting.site, "--tell")
        lasting.start()
        all_at("1", 4)
        assign("digits@3")
        all_at("3", 5)
        assert simulation.figures().connected == 6
