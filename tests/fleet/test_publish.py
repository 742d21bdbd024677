"""Publishing: a release is taken whole and checked to the last byte, or not at all."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from edgelift_contract import codec
from edgelift_contract.errors import ContractError, DeviceError, EdgeliftError
from edgelift_contract.manifest import MAX_MANIFEST_BYTES
from edgelift_fleet.blobs import BlobStore
from edgelift_fleet.db import Database
from edgelift_fleet.registry import publish
from edgelift_fleet.release_list import list_releases
from edgelift_fleet.site import Site, create_site
from tests.fleet.conftest import edgelift, environment
from tests.fleet.releases import make_release

pytestmark = pytest.mark.fleet


@pytest.fixture
def made(tmp_path: Path):
    site, _ = create_site(tmp_path / "site")
    db = Database(site.database)
    db.migrate()
    yield site, db
    db.close()


def kept(site: Site) -> set[str]:
    return {path.name for path in site.blobs.rglob("*")}


def names(site: Site, db: Database) -> list[str]:
    with db.read() as session:
        return [f"{r.model}@{r.version}" for r in list_releases(session, site.blobs).items]


def test_everything_is_kept_under_its_digest(made, tmp_path: Path) -> None:
    site, db = made
    release = make_release(tmp_path / "r", "1")
    done = publish(site, db, tmp_path / "r")
    assert done.new and names(site, db) == ["digits@1"]
    for name in kept(site):
        assert codec.digest((site.blobs / name).read_bytes()) == name
    assert {a.id for a in release.artifacts} <= kept(site)
    assert kept(site) - {a.id for a in release.artifacts} == {p.name for p in (tmp_path / "r" / "blobs").iterdir()}


def test_the_same_again_changes_nothing(made, tmp_path: Path) -> None:
    site, db = made
    make_release(tmp_path / "r", "1")
    make_release(tmp_path / "copy", "1")
    publish(site, db, tmp_path / "r")
    before = {p.name: p.stat().st_mtime_ns for p in site.blobs.iterdir()}
    assert not publish(site, db, tmp_path / "copy").new
    assert {p.name: p.stat().st_mtime_ns for p in site.blobs.iterdir()} == before


def test_other_content_under_the_same_name_is_refused(made, tmp_path: Path) -> None:
    site, db = made
    make_release(tmp_path / "r", "1")
    make_release(tmp_path / "other", "1", salt="x")
    publish(site, db, tmp_path / "r")
    before = kept(site)
    with pytest.raises(ContractError) as refused:
        publish(site, db, tmp_path / "other")
    assert refused.value.code == "conflict" and kept(site) == before


def truncate(folder: Path) -> None:
    blob = max((folder / "blobs").iterdir(), key=lambda p: p.stat().st_size)
    blob.write_bytes(blob.read_bytes()[:-1])


def alter(folder: Path) -> None:
    blob = max((folder / "blobs").iterdir(), key=lambda p: p.stat().st_size)
    data = blob.read_bytes()
    blob.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])


def lose(folder: Path) -> None:
    max((folder / "blobs").iterdir(), key=lambda p: p.stat().st_size).unlink()


def change_manifest(folder: Path, **changes: object) -> None:
    """Change one manifest; a None removes the field."""
    path = sorted((folder / "manifests").iterdir())[0]
    data = {k: v for k, v in {**json.loads(path.read_bytes()), **changes}.items() if v is not None}
    path.write_bytes(json.dumps(data).encode())


def change_release(folder: Path, **changes: object) -> None:
    path = folder / "release.json"
    data = {k: v for k, v in {**json.loads(path.read_bytes()), **changes}.items() if v is not None}
    path.write_bytes(json.dumps(data).encode())


WRONG = {
    "truncated blob": (truncate, "size-mismatch"),
    "altered blob": (alter, "digest-mismatch"),
    "missing blob": (lose, "missing-blob"),
    "missing manifest": (lambda f: sorted((f / "manifests").iterdir())[0].unlink(), "missing-blob"),
    "manifest without a schema": (lambda f: change_manifest(f, schema=None), "malformed"),
    "manifest of an unknown schema": (lambda f: change_manifest(f, schema=99), "unknown-schema"),
    "altered manifest": (lambda f: change_manifest(f, variant="int8"), "digest-mismatch"),
    "manifest that is no JSON": (
        lambda f: sorted((f / "manifests").iterdir())[0].write_bytes(b"\xff{"),
        "malformed",
    ),
    "manifest that leaves its folder": (
        lambda f: change_manifest(
            f, files=[{"path": "../x", "size_bytes": 1, "sha256": "0" * 64, "role": "model"}]
        ),
        "bad-path",
    ),
    "huge manifest": (
        lambda f: sorted((f / "manifests").iterdir())[0].write_bytes(b" " * (MAX_MANIFEST_BYTES + 1)),
        "too-large",
    ),
    "release without a schema": (lambda f: change_release(f, schema=None), "malformed"),
    "release of an unknown schema": (lambda f: change_release(f, schema=7), "unknown-schema"),
    "release that lies of its version": (lambda f: change_release(f, version="2"), "malformed"),
    "release without release.json": (lambda f: (f / "release.json").unlink(), "not-found"),
    "no artifacts": (lambda f: change_release(f, artifacts=[]), "malformed"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_release_leaves_nothing_behind(made, tmp_path: Path, wrong: str) -> None:
    site, db = made
    make_release(tmp_path / "r", "1")
    spoil, code = WRONG[wrong]
    spoil(tmp_path / "r")
    with pytest.raises(ContractError) as refused:
        publish(site, db, tmp_path / "r")
    assert refused.value.code == code
    assert refused.value.message.count("\n") == 0
    assert kept(site) == set() and names(site, db) == []


def test_a_full_disk_leaves_nothing_behind(made, tmp_path: Path) -> None:
    site, _ = made
    make_release(tmp_path / "r", "1", size_bytes=1_500_000)

    def limit() -> None:  # a file may not grow over 1 MB: what a full disk looks like, without filling one
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    result = subprocess.run(
        [sys.executable, "-c", "from edgelift.cli import main; main()", "publish", str(tmp_path / "r"),
         "--site", str(site.folder)],
        capture_output=True, text=True, env=environment(), preexec_fn=limit,
    )  # fmt: skip
    assert result.returncode == 1
    assert "no space left for the blob store" in result.stderr and "disk-full" in result.stderr
    assert "Traceback" not in result.stderr
    whole = [path for path in site.blobs.rglob("*") if path.is_file()]  # what came before, to be found there again
    assert all(codec.digest(path.read_bytes()) == path.name for path in whole)
    assert names(site, made[1]) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_really_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True
    ).returncode:
        pytest.skip("this machine does not let us mount")
    try:
        site, _ = create_site(disk / "site")
        db = Database(site.database)
        try:
            db.migrate()
            make_release(tmp_path / "r", "1", size_bytes=900_000)
            with pytest.raises(DeviceError) as refused:
                publish(site, db, tmp_path / "r")
            assert refused.value.code == "disk-full" and kept(site) == set() and names(site, db) == []
        finally:
            db.close()
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_what_a_power_cut_left_is_swept_away(made, tmp_path: Path) -> None:
    site, db = made
    (site.blobs / ".incoming").mkdir()
    (site.blobs / ".incoming" / ("a" * 64)).write_bytes(b"half")
    make_release(tmp_path / "r", "1")
    publish(site, db, tmp_path / "r")
    assert not (site.blobs / ".incoming").exists()


def test_a_blob_is_asked_for_by_its_digest_only(made) -> None:
    with pytest.raises(EdgeliftError) as refused:
        BlobStore(made[0].blobs).path("../edgelift.db")
    assert refused.value.code == "bad-id"


def test_the_command(made, tmp_path: Path) -> None:
    site, _ = made
    make_release(tmp_path / "r", "1")
    first = edgelift("publish", tmp_path / "r", "--site", site.folder)
    assert first.returncode == 0 and "Published digits@1: 2 artifacts" in first.stdout
    again = edgelift("publish", tmp_path / "r", "--site", site.folder, "--json")
    assert json.loads(again.stdout)["new"] is False
    assert json.loads(edgelift("releases", "--site", site.folder, "--json").stdout)[0]["version"] == "1"


def test_a_batch_begins_though_the_one_before_takes_its_folder_away_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, make, gone = BlobStore(tmp_path / "blobs"), os.mkdir, iter(["once"])
    store.folder.mkdir()

    def mkdir(path: str | Path, mode: int = 0o777) -> None:
        if next(gone, ""):  # it is there, and when pathlib looks whether it is a folder, it is not
            raise FileExistsError(17, "File exists", str(path))
        make(path, mode)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with store.batch():
        pass
    assert not list(gone) and list(store.folder.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_has_the_name_of_the_batches_folder_is_told(tmp_path: Path, kind: str) -> None:
    store = BlobStore(tmp_path / "blobs")
    store.folder.mkdir()
    in_the_way = store.folder / ".incoming"
    in_the_way.symlink_to("nowhere") if kind == "link" else in_the_way.touch()
    with pytest.raises(DeviceError) as caught, store.batch():
        pass
    assert caught.value.code == "disk-error"
