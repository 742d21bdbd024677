"""A backup or a restore that is killed, runs out of disk, or meets what it can't use leaves nothing, or the whole."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from edgelift_contract.errors import ContractError, DeviceError, EdgeliftError
from edgelift_fleet.blobs import BlobStore
from edgelift_fleet.db import Database
from edgelift_fleet.keeping.backup import verify
from edgelift_fleet.keeping.restore import restore
from edgelift_fleet.site import load_site
from edgelift_fleet.tables import ControlRow
from tests import forking
from tests.fleet.conftest import environment
from tests.fleet.postgres import Postgres
from tests.fleet.test_restore import blobs_of, contents, take
from tests.simulators.small_disk import small_disk
from tests.waiting import LONG_S

pytestmark = pytest.mark.fleet

_CHILD = """
import os, signal, sys
from pathlib import Path
from contextlib import closing
from edgelift_fleet.blobs import BlobStore
from edgelift_fleet.db import Database
from edgelift_fleet.keeping.backup import back_up
from edgelift_fleet.keeping.restore import restore
from edgelift_fleet.site import load_site

what, source, target, database, at = *sys.argv[1:5], int(sys.argv[5])
CHANGES = ("os.rename", "os.mkdir", "os.chmod", "os.remove", "os.rmdir", "shutil.rmtree", "sqlite3.connect")
count = 0

late, there = [], False

def hook(event, arguments):
    global there
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if there and (writes or event in ("os.rename", "os.mkdir", "sqlite3.connect")):
        late.append((event, str(arguments[0])))
    there = there or (event == "os.rename" and str(arguments[1]) == target)
    if event in CHANGES or writes:
        step()

def step(*_):
    global count
    count += 1
    if count == at:
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
if what == "backup":
    site = load_site(Path(source))
    with closing(Database(site.database)) as db:
        back_up(site, db, Path(target), with_secrets=True, progress=step)
else:
    restore(Path(source), Path(target), database=database, progress=step)
assert not late, f"written once the target had its name, where a full disk would say that it failed: {late}"
print(count)
"""


def child(
    what: str, source: Path, target: Path, database: str = "", at: int = 0
) -> subprocess.CompletedProcess[str]:
    """The same as the commands do, killed -9 before the `at`-th change of anything on the disk, or step forward."""
    arguments = ["-c", _CHILD, what, str(source), str(target), database, str(at)]
    return forking.run("edgelift", arguments, environment(), LONG_S)


def points(total: int, *, few: int) -> list[int]:
    """The last three, where names change, and some of the others."""
    return sorted({*range(max(1, total - 2), total + 1), *(1 + n * total // few for n in range(few))})


def test_a_backup_that_is_killed_is_not_there(idle_site: Path, tmp_path: Path) -> None:
    whole = child("backup", idle_site, tmp_path / "whole.tar")
    assert whole.returncode == 0, whole.stderr
    before = contents(idle_site)
    for at in points(int(whole.stdout), few=4):
        out = tmp_path / f"{at}.tar"
        assert child("backup", idle_site, out, at=at).returncode == -signal.SIGKILL
        assert not out.exists() or verify(out)
    take(idle_site, tmp_path / "last.tar")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert contents(idle_site) == before


@pytest.mark.parametrize("to", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def test_a_restore_that_is_killed_leaves_nothing_or_the_site_and_goes_through_the_next_time(
    idle_site: Path, to: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    take(idle_site, tmp_path / "site.tar", with_secrets=True)
    expected, blobs = contents(idle_site), blobs_of(idle_site)

    def new_database() -> str:
        if to == "sqlite":
            return "sqlite"
        made: Postgres = request.getfixturevalue("postgres")
        return made.database(f"killed-{time.time_ns()}")

    whole = child("restore", tmp_path / "site.tar", tmp_path / "whole", new_database())
    assert whole.returncode == 0, whole.stderr
    for at in points(int(whole.stdout), few=5 if to == "sqlite" else 10):
        new, database = tmp_path / f"at-{at}", new_database()
        assert child("restore", tmp_path / "site.tar", new, database, at).returncode == -signal.SIGKILL
        if not new.exists():
            restore(tmp_path / "site.tar", new, database=database)
        found = contents(new)
        entry = max(found["audit"])  # of the restore that went through, and of no other
        before = [one for one in found["audit"] if one != entry]
        assert "restore" in entry and {**found, "audit": before} == expected
        assert blobs_of(new) == blobs
        with closing(Database(load_site(new).database)) as db, db.read() as session:
            assert session.get(ControlRow, "restored") is not None
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("room", [20_000, 200_000, 700_000])
def test_a_full_disk_leaves_no_half_backup_and_no_half_site(idle_site: Path, tmp_path: Path, room: int) -> None:
    whole = tmp_path / "site.tar"
    take(idle_site, whole)
    with small_disk(tmp_path / "disk", "size=4m,mode=700") as disk:
        about = os.statvfs(disk.inside)
        (disk.inside / "filler").write_bytes(bytes(about.f_bavail * about.f_frsize - room))
        for words, target in (
            (["backup", tmp_path / "disk" / "site.tar", "--site", idle_site], "site.tar"),
            (["restore", whole, tmp_path / "disk" / "new"], "new"),
        ):
            done = subprocess.run(
                [*disk.within, sys.executable, "-c", "from edgelift.cli import main; main()", *map(str, words)],
                capture_output=True, text=True, env=environment(), check=False,
            )  # fmt: skip
            if done.returncode == 0:
                assert room > whole.stat().st_size
                subprocess.run(["rm", "-r", disk.inside / target], check=True)
                continue
            assert "disk-full" in done.stderr, done.stderr
            assert sorted(path.name for path in disk.inside.iterdir()) == ["filler"]


def test_where_one_may_not_write_or_read_it_says_so(idle_site: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    with tempfile.TemporaryDirectory(prefix="edgelift-kept-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        take(idle_site, folder / "site.tar")
        (folder / "open.tar").write_bytes((folder / "site.tar").read_bytes())
        (folder / "open.tar").chmod(0o644)
        os.seteuid(65534)
        try:
            for source in ("site.tar", "open.tar"):
                with pytest.raises(DeviceError) as refusal:
                    restore(folder / source, folder / "new")
                assert refusal.value.code == "read-only"
            with pytest.raises(EdgeliftError):
                load_site(idle_site)
        finally:
            os.seteuid(0)
        assert sorted(path.name for path in folder.iterdir()) == ["open.tar", "site.tar"]


def refused(call: Callable[[], object]) -> ContractError:
    with pytest.raises(ContractError) as refusal:
        call()
    return refusal.value


def test_what_is_no_place_for_a_backup_is_named(idle_site: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    for place, words in (
        (tmp_path, "is a folder"), (tmp_path / "pipe", "can't be written to"), (Path("-"), "can't be written to"),
        (tmp_path / "file" / "deep" / "x.tar", "is a file, so nothing"),
    ):  # fmt: skip
        found = refused(lambda place=place: take(idle_site, place))
        assert found.code == "conflict" and words in found.message and found.hint
    take(idle_site, tmp_path / "deep" / "new" / "site.tar")
    assert refused(lambda: restore(tmp_path / "deep/new/site.tar", tmp_path / "file" / "x")).code == "conflict"
    for source in ("pipe", "deep"):
        assert "is no file" in refused(lambda source=source: verify(tmp_path / source)).message


def test_two_backups_in_one_file_are_not_taken_for_one(idle_site: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        take(idle_site, tmp_path / name)
    whole = (tmp_path / "one").read_bytes()
    both = tmp_path / "both"
    both.write_bytes(whole + (tmp_path / "two").read_bytes())
    found = refused(lambda: verify(both))
    assert found.code == "malformed" and "Something follows the end" in found.message
    at = int(found.hint.rstrip(".").rpartition(" ")[2])
    both.write_bytes(both.read_bytes()[:at])
    assert verify(both).rows == verify(tmp_path / "one").rows
    both.write_bytes(whole + bytes(100_000))  # as a disk's image fills it up
    assert verify(both).rows == verify(tmp_path / "one").rows


def test_a_site_in_the_middle_of_an_upload_is_saved_without_it(idle_site: Path, tmp_path: Path) -> None:
    before = blobs_of(idle_site)
    upload = BlobStore(idle_site / "blobs").upload("0" * 64, 5)
    try:
        upload.write(b"half")
        take(idle_site, tmp_path / "site.tar")
    finally:
        upload.discard()
    restore(tmp_path / "site.tar", tmp_path / "new")
    assert blobs_of(tmp_path / "new") == before
    assert sorted(path.name for path in (tmp_path / "new" / "blobs").iterdir()) == sorted(before)
