"""Blobs in an object store: a real S3 protocol, a real server that streams from it, an agent's own way of fetching."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import pytest
import requests

from edgelift_agent.link.http import HttpTransport
from edgelift_contract import codec
from edgelift_contract.errors import ContractError, DeviceError, TransportError
from edgelift_fleet.api.blob_answer import parse_range
from edgelift_fleet.db import Database
from edgelift_fleet.registry import publish
from edgelift_fleet.remote_blobs import RemoteBlobs, open_blobs
from edgelift_fleet.site import create_site
from edgelift_fleet.testing import simulated_fleet
from tests.fleet.conftest import Server, edgelift
from tests.fleet.identity.sites import plain
from tests.fleet.s3 import S3
from tests.fleet.s3 import s3 as s3
from tests.fleet.s3 import s3_server as s3_server
from tests.waiting import LONG_S, until

pytestmark = pytest.mark.fleet


@pytest.fixture
def place(s3: S3) -> str:
    return f"s3://{s3.bucket}/models"


def some(folder: Path, size: int) -> tuple[Path, str]:
    data = random.Random(size).randbytes(size)
    path = folder / f"file-{size}"
    path.write_bytes(data)
    return path, codec.digest(data)


def test_a_release_is_published_to_s3_and_devices_fetch_it(
    s3: S3, place: str, tmp_path: Path, releases: dict[str, Path]
) -> None:
    site = tmp_path / "site"
    assert edgelift("init", site, "--blobs", place).returncode == 0
    plain(site)
    assert f'blobs = "{place}"' in (site / "site.toml").read_text()
    done = edgelift("publish", releases["digits@1"], "--site", site)
    assert "Signed and published digits@1" in done.stdout, done.stderr
    before = s3.keys()
    assert before and all(key.startswith("models/") for key in before)
    assert not list((site / "blobs").iterdir())
    again = edgelift("publish", releases["digits@1"], "--site", site)
    assert "nothing was changed" in again.stdout and s3.keys() == before
    server = Server(site, "--broker", "none").start()
    try:
        with simulated_fleet(site) as fleet:
            (device,) = fleet.add("pi-1")
            assert edgelift("assign", "digits@1", "--device", "pi-1", "--site", site).returncode == 0
            until(lambda: device.slots.get("digits") and device.slots["digits"].version == "1")
    finally:
        assert server.stop() == 0
    assert "Swordfish" not in server.log.read_text() + done.stderr


def test_an_agent_takes_up_where_its_transfer_was_cut(s3: S3, place: str, tmp_path: Path) -> None:
    site, _ = create_site(tmp_path / "site", blobs=place)
    source, sha = some(tmp_path, 20_000_000)  # of three parts
    with open_blobs(site).batch() as batch:
        batch.add(source, sha, 20_000_000, what="a file")
    assert s3.keys() == {f"models/{sha}": 20_000_000}
    server = Server(site.folder, "--broker", "none").start()
    try:
        link = HttpTransport(server.url, server.token, "pi-1", timeout_s=LONG_S)
        got = bytearray()
        with link.open_blob(sha, 0, 20_000_000) as (_, pieces):
            got += next(pieces)
        begun = len(got)
        assert 0 < begun < 20_000_000
        with link.open_blob(sha, begun, 20_000_000) as (start, pieces):
            assert start == begun
            for piece in pieces:
                got += piece
        assert codec.digest(bytes(got)) == sha
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("header", "status", "wanted"),
    [
        ({}, 200, slice(0, 1000)),
        ({"Range": "bytes=10-19"}, 206, slice(10, 20)),
        ({"Range": "bytes=990-"}, 206, slice(990, 1000)),
        ({"Range": "bytes=-7"}, 206, slice(993, 1000)),
        ({"Range": "bytes=0-5000"}, 206, slice(0, 1000)),
        ({"Range": "bytes=1000-"}, 416, None),
        ({"Range": "lines=1-2"}, 200, slice(0, 1000)),
        ({"Range": "bytes=10-19", "If-Range": '"another"'}, 200, slice(0, 1000)),
    ],
)
def test_ranges(header: dict[str, str], status: int, wanted: slice | None) -> None:
    """As Starlette answers for a file: the same requests are asked of both kinds of store."""
    from starlette.applications import Starlette
    from starlette.routing import Route
    from starlette.testclient import TestClient

    from edgelift_fleet.api.blob_answer import blob_answer

    blobs = RemoteBlobs("memory://ranges")
    data = random.Random(5).randbytes(1000)
    sha = codec.digest(data)
    blobs._fs.pipe_file(blobs._place(sha), data)
    app = Starlette(routes=[Route("/", lambda request: blob_answer(blobs, sha, request.headers))])
    reply = TestClient(app).get("/", headers=header)
    assert reply.status_code == status
    assert reply.content == (data[wanted] if wanted else b"")
    assert reply.headers["etag"] == f'"{sha}"'
    if status == 206:
        assert reply.headers["content-range"] == f"bytes {wanted.start}-{wanted.stop - 1}/1000"


@pytest.mark.parametrize(
    "text", ["", "bytes=", "bytes=-", "bytes=1-2,5-6", "bytes=a-b", "bytes=" + "9" * 30 + "-"]
)
def test_a_range_that_is_none_means_everything(text: str) -> None:
    assert parse_range(text, 1000) is None


def test_a_batch_with_one_bad_file_leaves_nothing(s3: S3, place: str, tmp_path: Path) -> None:
    blobs = RemoteBlobs(place)
    good, large = some(tmp_path, 1000), some(tmp_path, 17_000_000)
    with pytest.raises(ContractError) as refused, blobs.batch() as batch:
        batch.add(good[0], good[1], 1000, what="the first file")
        batch.add(large[0], large[1], 17_000_000, what="the second file")
        batch.add(good[0], "0" * 64, 1000, what="the third file")
    assert refused.value.code == "digest-mismatch" and "the third file was altered" in refused.value.message
    assert s3.keys() == {}
    uploads = requests.get(f"{s3.url}/{s3.bucket}?uploads", timeout=LONG_S).text
    assert "<Upload>" not in uploads


def test_publishing_again_mends_an_object_that_was_altered(s3: S3, place: str, tmp_path: Path) -> None:
    source, sha = some(tmp_path, 1000)
    blobs = RemoteBlobs(place)
    with blobs.batch() as batch:
        batch.add(source, sha, 1000, what="a file")
    requests.put(f"{s3.url}/{s3.bucket}/models/{sha}", data=b"x" * 1000, timeout=LONG_S)
    with RemoteBlobs(place).batch() as batch:
        batch.add(source, sha, 1000, what="a file")
        assert batch.mended == 1
    assert b"".join(blobs.read(sha, 0, 1000)) == source.read_bytes()


def test_a_store_that_is_away_is_busy_and_one_that_is_none_is_named(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, sha = some(tmp_path, 1000)
    with pytest.raises(DeviceError) as missing, RemoteBlobs("s3://nowhere/x").batch() as batch:
        batch.add(source, sha, 1000, what="a file")
    assert missing.value.code == "bad-config" and "s3://nowhere/x" in missing.value.message
    assert RemoteBlobs("s3://farm/x").size(sha) is None
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(TransportError) as away:
        RemoteBlobs("s3://farm/x").size(sha)
    assert away.value.code == "busy"
    with pytest.raises(DeviceError):
        RemoteBlobs("floppy://x")


def test_a_folder_that_servers_share(tmp_path: Path, releases: dict[str, Path]) -> None:
    for name in ("one", "two"):
        site, _ = create_site(tmp_path / name, blobs=str(tmp_path / "shared"))
        with closing(Database(site.database)) as db:
            db.migrate()
            assert publish(site, db, releases["digits@1"]).new
        assert not list((site.folder / "blobs").iterdir())
    assert len(list((tmp_path / "shared").iterdir())) > 1
