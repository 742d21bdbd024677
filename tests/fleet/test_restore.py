"""Backups come back, on either engine, of older forms, with or without models and secrets; or nothing at all does."""

import sqlite3
import stat
import tarfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from edgelift_contract.errors import ContractError
from edgelift_contract.histogram import Histogram
from edgelift_contract.telemetry import Batch, Item, Window
from edgelift_fleet import telemetry
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.keeping import archive
from edgelift_fleet.keeping.backup import back_up, verify
from edgelift_fleet.keeping.restore import restore
from edgelift_fleet.keeping.rows import DERIVED
from edgelift_fleet.messages.keeping import BackupManifest, BackupReport
from edgelift_fleet.registry import publish
from edgelift_fleet.site import create_site, load_site
from edgelift_fleet.tables import DeviceRow, RolloutRow
from tests.fleet.conftest import both_engines, edgelift, make_site
from tests.fleet.direct import direct
from tests.fleet.s3 import S3
from tests.fleet.s3 import s3 as s3
from tests.fleet.s3 import s3_server as s3_server
from tests.fleet.test_migrations import fill

pytestmark = pytest.mark.fleet

#: Rows that a restore writes by itself.
_OWN = ("control", "sighting")


def take(site: Path, out: Path, **options: bool) -> BackupReport:
    where = load_site(site)
    with closing(Database(where.database)) as db:
        return back_up(where, db, out, **options)


def contents(site: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, as values that are the same on either engine."""
    with closing(Database(load_site(site).database)) as db, db.read() as session:
        found = sa.MetaData()
        found.reflect(session.connection())
        return {
            table.name: sorted((tuple(row) for row in session.execute(sa.select(table))), key=repr)
            for table in found.sorted_tables
            if table.name not in (*_OWN, "alembic_version")
        }


def blobs_of(site: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (site / "blobs").iterdir() if path.is_file()}


@pytest.fixture
def filled(site: Path) -> Path:
    """A site with a row in every table."""
    with closing(Database(load_site(site).database)) as db:
        fill(db)
        with db.write(SITE) as session:  # what a restore changes is no part of these tests
            session.execute(sa.update(RolloutRow).values(state="done"))
            session.execute(sa.update(DeviceRow).values(presence_online=False))
    return site


@pytest.mark.parametrize("to", ["sqlite", "postgresql"])
@both_engines
def test_every_row_and_blob_comes_back_on_either_engine(
    filled: Path, to: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    out, new = tmp_path / "site.tar", tmp_path / "new"
    made = take(filled, out, with_secrets=True)
    assert verify(out) == made
    database = "sqlite" if to == "sqlite" else request.getfixturevalue("postgres").database(f"to-{time.time_ns()}")
    done = restore(out, new, database=database)
    assert (done.missing, done.new_secrets) == ([], False)
    found = contents(new)
    assert "restore" in found["audit"].pop()  # to the log one entry is added
    # What is derived is made anew when it is asked for; and everybody logs in anew.
    assert found == {**contents(filled), **{name: [] for name in (*DERIVED, "access_token")}}
    assert blobs_of(new) == blobs_of(filled)
    for path in (filled / "secrets").iterdir():
        if path.name != "database-password":
            assert (new / "secrets" / path.name).read_bytes() == path.read_bytes()
    outside = [p for p in [new, *new.rglob("*")] if stat.S_IMODE(p.stat().st_mode) & 0o077]
    assert outside == []
    with direct(new) as control:  # rows that come now have numbers of their own
        control.add("pi-new")
        rollout = control.start("digits@1", to="id:pi-new", gates=[])
        control.look(2)
        assert control.statuses(rollout) == {"pi-new": "waiting"}


@pytest.mark.parametrize("form", ["0001", "0007", "0012"])
def test_a_backup_of_an_older_form_is_brought_up_to_date(tmp_path: Path, form: str) -> None:
    made, _ = create_site(tmp_path / "old")
    with closing(Database(made.database)) as db:
        db.migrate(form)
        fill(db)
        with db.write(SITE) as session:
            session.execute(sa.text("update rollout set state = 'done'"))
        before = back_up(made, db, tmp_path / "old.tar")
    assert before.form == form
    restore(tmp_path / "old.tar", tmp_path / "new")
    with closing(Database(load_site(tmp_path / "new").database)) as db:
        with db.read() as session:
            assert session.scalar(sa.select(sa.func.count()).select_from(DeviceRow)) == 1
        db.migrate()


def tampered(source: Path, out: Path, change: Callable[[BackupManifest], BackupManifest]) -> Path:
    """A whole backup that says something else of itself."""
    with archive.open_archive(source) as old, archive.new_archive(out) as new:
        parts = [part for table in old.manifest.tables for part in table.parts]
        for part in [*parts, *old.manifest.blobs, *old.manifest.secrets.values()]:
            new.add(part.name, old.data(part))
        new.finish(change(old.manifest))
    return out


def test_one_of_a_newer_edgelift_is_refused_by_name(idle_site: Path, tmp_path: Path) -> None:
    take(idle_site, tmp_path / "site.tar")
    for change in ({"form": "9999"}, {"schema": 2}):
        newer = tampered(
            tmp_path / "site.tar", tmp_path / "newer.tar",
            lambda m, change=change: msgspec.structs.replace(m, version="9.9.9", **change),
        )  # fmt: skip
        with pytest.raises(ContractError, match=r"9\.9\.9") as refusal:
            restore(newer, tmp_path / "new")
        assert refusal.value.code == "unknown-schema"
        assert "Install edgelift 9.9.9" in refusal.value.hint
        newer.unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site.tar"]


def test_names_in_a_backup_lead_nowhere_else(idle_site: Path, tmp_path: Path) -> None:
    take(idle_site, tmp_path / "site.tar", with_secrets=True)

    def outside(manifest: BackupManifest) -> BackupManifest:
        raw = msgspec.to_builtins(manifest)
        raw["secrets"] = {"../../x": next(iter(raw["secrets"].values()))}
        return msgspec.convert(raw, BackupManifest)

    with pytest.raises(msgspec.ValidationError):
        tampered(tmp_path / "site.tar", tmp_path / "bad.tar", outside)
    with tarfile.open(tmp_path / "site.tar") as tar:
        assert all(member.isreg() and member.mode == 0o600 for member in tar)


def test_without_models_it_says_what_must_be_there(
    idle_site: Path, releases: dict[str, Path], tmp_path: Path
) -> None:
    made = take(idle_site, tmp_path / "site.tar", with_blobs=False)
    assert made.blobs > 0
    assert made.size_bytes < made.blob_bytes
    done = restore(tmp_path / "site.tar", tmp_path / "new")
    assert len(done.missing) == 6  # of what the manifests name nothing is known
    assert done.unready == ["digits@1", "digits@2", "digits@3"]
    assert done.new_secrets
    said = edgelift("restore", tmp_path / "site.tar", tmp_path / "told")
    assert f"At least 6 of the backup's {made.blobs} blobs are missing" in said.stdout
    new = load_site(tmp_path / "new")
    assert new.secret("enrolment-token") != load_site(idle_site).secret("enrolment-token")
    with closing(Database(new.database)) as db:
        for folder in releases.values():
            assert not publish(new, db, folder).new
    assert blobs_of(tmp_path / "new") == blobs_of(idle_site)


def test_models_in_s3_and_back(s3: S3, releases: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("s3fs")
    made, _ = create_site(tmp_path / "far", blobs=f"s3://{s3.bucket}/models")
    with closing(Database(made.database)) as db:
        db.migrate()
        publish(made, db, releases["digits@1"])
        publish(made, db, releases["digits@2"])
        back_up(made, db, tmp_path / "far.tar")
    before = s3.keys()
    near = restore(tmp_path / "far.tar", tmp_path / "near", blobs="blobs")
    assert near.missing == []
    assert {f"models/{name}": len(data) for name, data in blobs_of(tmp_path / "near").items()} == before
    s3.empty()
    again = restore(tmp_path / "far.tar", tmp_path / "again")
    assert again.missing == []
    assert s3.keys() == before


def test_damaged_and_missing_models_are_told_and_keep_nothing_from_being_saved(site: Path, tmp_path: Path) -> None:
    first, second, *_ = sorted((path for path in (site / "blobs").iterdir()), key=lambda p: -p.stat().st_size)
    first.chmod(0o600)
    first.write_bytes(bytes(first.stat().st_size))
    second.unlink()
    made = take(site, tmp_path / "site.tar")
    assert made.lost == sorted([first.name, second.name])
    assert verify(tmp_path / "site.tar").lost == made.lost
    done = restore(tmp_path / "site.tar", tmp_path / "new")
    assert done.missing == made.lost
    assert done.unready
    assert blobs_of(tmp_path / "new").keys() == blobs_of(site).keys() - {first.name}


def test_rows_that_cannot_be_understood_are_saved_too(site: Path, tmp_path: Path) -> None:
    with direct(site) as control:
        control.add("pi-1", "pi-2")
    with closing(sqlite3.connect(site / "edgelift.db")) as db:
        db.execute("update device set facts = ?, gone_at = 'x' where id = 'pi-1'", (b"\xff\x00{",))
        db.commit()
    take(site, tmp_path / "site.tar")
    restore(tmp_path / "site.tar", tmp_path / "new")
    with closing(sqlite3.connect(tmp_path / "new" / "edgelift.db")) as db:
        assert db.execute("select facts, gone_at from device where id = 'pi-1'").fetchone() == (b"\xff\x00{", "x")


def test_postgresql_refuses_what_it_cannot_keep_and_stays_empty(
    site: Path, postgres_url: str, tmp_path: Path
) -> None:
    with direct(site) as control:
        control.add("pi-1")
    with closing(sqlite3.connect(site / "edgelift.db")) as db:
        db.execute("update device set gone_at = 'x'")
        db.commit()
    take(site, tmp_path / "site.tar")
    with pytest.raises(ContractError, match=r"The table device holds what this database can't keep"):
        restore(tmp_path / "site.tar", tmp_path / "new", database=postgres_url)
    with closing(Database(postgres_url)) as db, db.read() as session:
        assert sa.inspect(session.connection()).get_table_names() == []
    assert not (tmp_path / "new").exists()


def test_a_database_with_a_site_in_it_is_left_alone(
    idle_site: Path, releases: dict[str, Path], postgres_url: str, tmp_path: Path
) -> None:
    taken = make_site(tmp_path / "taken", {"digits@1": releases["digits@1"]}, postgres_url)
    before = contents(taken)
    take(idle_site, tmp_path / "site.tar")
    with pytest.raises(ContractError, match="there is a site already") as refusal:
        restore(tmp_path / "site.tar", tmp_path / "new", database=postgres_url)
    assert refusal.value.code == "conflict"
    assert contents(taken) == before
    assert not (tmp_path / "new").exists()


def test_rollouts_under_way_are_cancelled_and_numbers_not_used_again(site: Path, tmp_path: Path) -> None:
    with direct(site) as control:
        control.add("pi-1", "pi-2", "pi-3", other="")
        first = control.start("digits@1", waves="1,100%", gates=[])
        control.look(2)
        (reached,) = control.statuses(first)
    take(site, tmp_path / "site.tar")
    done = restore(tmp_path / "site.tar", tmp_path / "new")
    assert (done.cancelled, done.going_back) == ([first], [])
    with direct(tmp_path / "new") as control:
        shown = control.show(first)
        assert shown.state == "cancelled"
        assert "restored from a backup of" in shown.reason
        assert reached in shown.reason
        control.look(3)
        assert control.show(first).state == "cancelled"
        again = control.start("digits@1", to="all", gates=[])
        assert int(again[1:]) > int(first[1:]) + 100
        control.look(2)
        control.order(again, "cancel")
        assert control.start("digits@2", to="all", gates=[]) == f"r{int(again[1:]) + 1}"
        control.order(f"r{int(again[1:]) + 1}", "cancel")
        assert control.order(first, "rollback").state == "rolling-back"


def test_a_rollback_under_way_goes_on_with_time_of_its_own(site: Path, tmp_path: Path) -> None:
    with direct(site) as control:
        control.add("pi-1", "pi-2")
        rollout = control.start("digits@1", waves="100%", gates=[])
        control.look(2)
        control.answer("pi-1", "pi-2")
        control.look()
        control.order(rollout, "rollback")
        control.look(2)
        control.answer("pi-1")
        control.look()
        slots, revisions, tags = control.slots, control.seen_revision, control.tags
    take(site, tmp_path / "site.tar")
    done = restore(tmp_path / "site.tar", tmp_path / "new")
    assert done.going_back == [rollout]
    with direct(tmp_path / "new") as control:
        control.slots, control.seen_revision, control.tags = slots, revisions, tags
        control._sequence = 1000
        control.come("pi-1", "pi-2")
        control.answer("pi-2")
        control.look(3)
        assert control.show(rollout).state == "rolled-back"


def test_telemetry_that_the_backup_does_not_know_is_stored_once(site: Path, tmp_path: Path) -> None:
    def deliver(folder: Path, *seqs: int) -> int:
        items = [Item(seq, window=Window(
            start=time.time() - 60, end=time.time(), slot="digits", generation=1, artifact="a" * 64, model="digits",
            version="1", ok=10, latency_us={"total": Histogram().to_data()},
        )) for seq in seqs]  # fmt: skip
        with closing(Database(load_site(folder).database)) as db, db.write(SITE) as session:
            return telemetry.store(session, Batch(schema=1, device="pi-1", epoch="outbox", items=items))

    with direct(site) as control:
        control.add("pi-1")
    assert deliver(site, 1, 2, 3) == 3
    take(site, tmp_path / "site.tar")
    assert deliver(site, 4, 5) == 2  # confirmed, so the device has them no more
    restore(tmp_path / "site.tar", tmp_path / "new")
    assert deliver(tmp_path / "new", 2, 3, 6, 7) == 2
    assert deliver(tmp_path / "new", 5, 6, 7, 8) == 2
    assert len(contents(tmp_path / "new")["telemetry_minute"]) == 7
