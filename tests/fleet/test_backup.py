"""A site's backup and its restore, by the commands: while it serves, verified, refused, and with devices that went on."""

import json
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelift_agent.testing.ports import free_port
from edgelift_fleet.messages.keeping import BackupReport, RestoreReport
from edgelift_fleet.testing import FleetSimulator, simulated_fleet, wait_until
from tests.fleet.conftest import Server, edgelift
from tests.fleet.operating import Operator

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
    made = Server(site, "--port", str(free_port()), "--mqtt-port", str(free_port())).start()
    try:
        yield made
    finally:
        made.stop()


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
    assert restored["missing"] == []
    lasting.start()
    operator = Operator(lasting)
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
    cases = {"flipped": data[:5000] + bytes([data[5000] ^ 1]) + data[5001:], "none": b"", "text": b"hello\n" * 500}
    cases |= {f"cut-{n}": data[: len(data) * n // 8] for n in range(1, 8)}
    for name, bad in cases.items():
        path = tmp_path / name
        path.write_bytes(bad)
        said = refused("restore", path, tmp_path / "new")
        assert any(code in said for code in ("digest-mismatch", "cut-short", "malformed")), (name, said)
        assert not (tmp_path / "new").exists()
        path.unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site.tar"]
