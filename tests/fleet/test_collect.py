"""Blobs that nothing names are collected, in a folder and in S3: never one that is named, or about to be."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa

from edgelift_contract import codec
from edgelift_contract.errors import ContractError
from edgelift_fleet.blobs import Blobs, BlobStore
from edgelift_fleet.db import ROWS, SITE, Database
from edgelift_fleet.keeping.collect import LEAST_S, collect
from edgelift_fleet.messages.keeping import CollectReport
from edgelift_fleet.registry import publish
from edgelift_fleet.remote_blobs import RemoteBlobs, open_blobs
from edgelift_fleet.site import Site, create_site
from edgelift_fleet.tables import ArtifactRow, ReleaseRow
from edgelift_fleet.unnamed import keep
from tests.fleet.conftest import Server, both_engines
from tests.fleet.operating import Operator
from tests.fleet.s3 import S3
from tests.fleet.s3 import s3 as s3
from tests.fleet.s3 import s3_server as s3_server

pytestmark = pytest.mark.fleet
LATER = 2 * 3600.0


@contextmanager
def open_all(site: Site) -> Iterator[tuple[Database, Blobs]]:
    with closing(Database(site.database)) as db:
        db.migrate()
        yield db, open_blobs(site)


def forget(db: Database, release: str) -> None:
    """As if the release had been deleted."""
    version = release.partition("@")[2]
    with db.write(SITE) as session:
        (number,) = session.scalars(sa.select(ReleaseRow.id).filter_by(version=version))
        session.execute(sa.delete(ArtifactRow).filter_by(release_id=number))
        session.execute(sa.delete(ReleaseRow).filter_by(id=number))


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, releases: dict[str, Path]) -> Site:
    """A site with two releases, its blobs here or there."""
    where = ""
    if request.param == "s3":
        pytest.importorskip("s3fs")
        found: S3 = request.getfixturevalue("s3")
        where = f"s3://{found.bucket}/models"
    made, _ = create_site(tmp_path / "site", blobs=where)
    with open_all(made) as (db, _blobs):
        for name in ("digits@1", "digits@2"):
            publish(made, db, releases[name])
    return made


def test_what_nothing_names_goes_after_its_time_and_nothing_else(place: Site) -> None:
    with open_all(place) as (db, blobs):
        before = blobs.stored()
        now = time.time()
        assert collect(db, blobs, now=now).collected == 0
        forget(db, "digits@2")
        first = collect(db, blobs, now=now)
        assert (first.collected, first.waiting > 0, first.next_at) == (0, True, now + 3600)
        # A dry run says the same and does nothing.
        would = collect(db, blobs, now=now + LATER, dry_run=True)
        assert blobs.stored() == before
        done = collect(db, blobs, now=now + LATER)
        assert (done.collected, done.collected_bytes) == (would.collected, would.collected_bytes)
        assert done.blobs == would.blobs
        assert done.collected == first.waiting
        left = blobs.stored()
        assert set(before) - set(left) == {one.sha256 for one in done.blobs}
        assert len(left) == done.named
        assert collect(db, blobs, now=now + 2 * LATER).collected == 0
        # What stays is whole: publishing it again mends nothing, and the other release comes back.
        assert all(blobs.is_whole(sha256) for sha256 in left)


def test_a_blob_that_is_about_to_be_named_stays(place: Site, releases: dict[str, Path]) -> None:
    with open_all(place) as (db, blobs):
        now = time.time()
        forget(db, "digits@2")
        waiting = collect(db, blobs, now=now).waiting
        assert waiting
        publish(place, db, releases["digits@2"])  # whose blobs are all there, with an hour behind them
        assert collect(db, blobs, now=now + LATER).collected == 0
        forget(db, "digits@2")
        with db.write(ROWS) as session:
            keep(session, blobs.stored())
        assert collect(db, blobs, now=now + 2 * LATER).collected == 0  # its hour begins anew


@pytest.mark.parametrize(("far", "times"), [(False, 100), (True, 20)], ids=["folder", "s3-of-two-servers"])
def test_publishing_beside_a_collection_loses_nothing(
    far: bool, times: int, tmp_path: Path, releases: dict[str, Path], request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The one who collects has a connection and a memory of its own, as another server of the site."""
    # moto says of every upload that it began in 2010, so that all under way would be ended.
    monkeypatch.setattr(RemoteBlobs, "leftovers", lambda *_, **__: {})
    where, database = "", ""
    if far:
        pytest.importorskip("s3fs")
        where = f"s3://{request.getfixturevalue('s3').bucket}/models"
        database = request.getfixturevalue("postgres_url")
    made, _ = create_site(tmp_path / "site", blobs=where, database=database)
    with open_all(made) as (db, blobs), open_all(made) as (other_db, other_blobs):
        publish(made, db, releases["digits@1"])
        stopping, faults = threading.Event(), []

        def collecting() -> None:
            now = time.time()
            # Some time between two of them: else the publisher hardly has a turn.
            while not stopping.wait(random.uniform(0, 0.05 if far else 0.005)):
                now += LATER  # as if hours passed between any two looks
                try:
                    collect(other_db, other_blobs, now=now)
                except Exception as error:  # noqa: BLE001 - told below
                    faults.append(error)

        thread = threading.Thread(target=collecting)
        thread.start()
        try:
            for _ in range(times):
                publish(made, db, releases["digits@2"])
                forget(db, "digits@2")
            publish(made, db, releases["digits@2"])
        finally:
            stopping.set()
            thread.join()
        assert faults == []
        before = blobs.stored()
        assert publish(made, db, releases["digits@2"]).mended == 0
        assert blobs.stored() == before


def test_an_upload_to_s3_under_way_stays_whatever_our_clock_says(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs")
    blobs, data = RemoteBlobs(f"s3://{s3.bucket}/models"), bytes(9 << 20)
    upload = blobs.upload(codec.digest(data), len(data))
    upload.write(data)
    began, listed = datetime.now(timezone.utc), blobs._fs.list_multipart_uploads  # moto says 2010 of each
    said = lambda bucket: [{**one, "Initiated": began} for one in listed(bucket)]  # noqa: E731 - short
    monkeypatch.setattr(blobs._fs, "list_multipart_uploads", said)
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + LATER)  # ours, against the store's
    assert blobs.leftovers(3600.0, delete=True) == {}
    assert len(blobs.leftovers(-60.0, delete=False)) == 1
    assert upload.finish().new
    assert blobs.leftovers(-60.0, delete=True) == {}


def test_what_killed_uploads_left_is_swept_but_not_what_is_under_way(
    tmp_path: Path, releases: dict[str, Path]
) -> None:
    made, _ = create_site(tmp_path / "site")
    with open_all(made) as (db, blobs):
        publish(made, db, releases["digits@1"])
        incoming, uploads = made.blobs / ".incoming", made.blobs / ".uploads"
        for folder in (incoming, uploads):
            folder.mkdir(exist_ok=True)
            (folder / "half").write_bytes(b"half")
        (incoming / "lock").touch()
        upload = blobs.upload("0" * 64, 5)
        upload.write(b"piece")
        would = collect(db, blobs, dry_run=True)
        assert (would.leftovers, (incoming / "half").exists()) == (
            1,
            True,
        )  # beginning an upload swept the other one
        assert collect(db, blobs).leftovers == 1
        assert not incoming.exists()
        assert len(list(uploads.iterdir())) == 1
        upload.discard()


def test_nothing_goes_while_a_manifest_is_unknown(tmp_path: Path, releases: dict[str, Path]) -> None:
    made, _ = create_site(tmp_path / "site")
    with open_all(made) as (db, blobs):
        for name in ("digits@1", "digits@2"):
            publish(made, db, releases[name])
        forget(db, "digits@2")
        collect(db, blobs)
        with db.read() as session:
            artifact = session.scalars(sa.select(ArtifactRow.id)).first()
        assert artifact is not None
        (made.blobs / artifact).unlink()
        before = blobs.stored()
        with pytest.raises(ContractError, match=r"A manifest of digits@1 is missing"):
            collect(db, blobs, now=time.time() + LATER)
        assert blobs.stored() == before
        publish(made, db, releases["digits@1"])
        assert collect(db, blobs, now=time.time() + LATER).collected > 0
        with pytest.raises(ContractError, match="too short"):
            collect(db, blobs, older_than_s=LEAST_S - 1)


@both_engines
def test_over_http_what_is_assigned_stays(site: Path) -> None:
    server = Server(site, "--broker", "none").start()
    try:
        operator = Operator(server)
        found = operator.client.post("/v1/blobs/collect?dry_run=true", {}, CollectReport)
        assert (found.dry_run, found.collected, found.waiting) == (True, 0, 0)
        (site / "blobs" / ("f" * 64)).write_bytes(b"nobody names this")
        found = operator.client.post("/v1/blobs/collect?older_than_s=600", {}, CollectReport)
        assert (found.collected, found.waiting, found.waiting_bytes) == (0, 1, 17)
        with pytest.raises(ContractError):
            operator.client.post("/v1/blobs/collect?older_than_s=1", {}, CollectReport)
        assert isinstance(BlobStore(site / "blobs").stored(), dict)
    finally:
        server.stop()
