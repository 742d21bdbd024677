"""A site from a backup: as it was then, in a new folder and an empty database; or nothing at all.

Everything is made beside the place where the site is to be, and gets its name at the end. The tables are filled in one
transaction, in the form that the backup has, and brought up to date in the same. Nothing that exists is touched: neither
a folder, nor a database with something in it, nor a blob.

Killed in between, it leaves a folder `.NAME.restoring`, which the next restore takes away. A database that isn't in the
folder is committed a moment before the folder gets its name: should it end right there, the next restore of the same
backup finds its own work (`control`: `restoring`) and goes on with that.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from edgelift_contract.errors import ContractError, EdgeliftError
from edgelift_fleet.blobs import Blobs, BlobStore
from edgelift_fleet.db import SITE, Database, name_of
from edgelift_fleet.files import disk_errors, sync_folder, write_atomically
from edgelift_fleet.keeping.after import UnderWay, settle
from edgelift_fleet.keeping.archive import Archive, open_archive, refuse_file_above
from edgelift_fleet.keeping.backup import no_progress, report_of
from edgelift_fleet.keeping.named import NamedBlobs, named_artifacts, named_blobs
from edgelift_fleet.keeping.rows import Progress, read_tables
from edgelift_fleet.messages.keeping import BackupManifest, BackupPart, RestoreReport
from edgelift_fleet.remote_blobs import open_blobs
from edgelift_fleet.site import (
    OF_DATABASE,
    SCHEMA,
    SITE_FILE,
    Site,
    SiteConfig,
    create_site,
    load_site,
    write_config,
)
from edgelift_fleet.tables import ControlRow

log = logging.getLogger(__name__)

#: In `control`: the backup that is being restored; gone when the folder has its name.
_RESTORING = "restoring"
#: Blobs that are put into a store elsewhere together.
_AT_ONCE = 64
#: In place of a database's URL: SQLite in the folder.
IN_FOLDER = "sqlite"


def restore(
    path: Path, folder: Path, *, database: str = "", blobs: str = "", tell: bool = False,
    progress: Progress = no_progress,
) -> RestoreReport:  # fmt: skip
    """Make a site from a backup.

    Args:
        path: the backup.
        folder: of the new site: empty or not there.
        database: URL of an empty database, or `sqlite` for the folder's own; empty for what the backup's site had.
        blobs: where its blobs are or are to be; empty for what the backup's site had.
        tell: devices that went on are told what the backup says as soon as they are heard of, without being asked about.
        progress: told (`rows` or `bytes`, done, all).

    Raises:
        ContractError: what is wrong with the backup; `conflict` when there is a site already; `unknown-schema` for one of
            a newer release.
        DeviceError: `disk-full`, `read-only`, `disk-error`, `bad-config`.
        TransportError: `busy` when the database or a far blob store does not answer.
    """
    folder = folder.absolute()
    with disk_errors(f"the folder {folder}"):
        _refuse_existing(folder)
    with open_archive(path) as archive, _beside(folder) as made:
        site = _make_site(made, folder, archive, database, blobs)
        store = open_blobs(site)
        if archive.manifest.with_blobs:
            _write_blobs(made, store, archive, progress)
        with closing(Database(site.database)) as db:
            under_way = _fill(db, archive, progress, tell=tell)
            with db.read() as session:
                artifacts = named_artifacts(session)
            named = named_blobs(artifacts, store)
            missing = _missing(store, named)
            db.close()  # SQLite puts everything into its one file with that
            with disk_errors(f"the folder {folder}"):
                _sync(made)
                made.rename(folder)
            # The site is there: from here on nothing may fail.
            with suppress(OSError):
                sync_folder(folder.parent)
            if db.shared:
                _forget(db)
    return RestoreReport(
        folder=str(folder), database=name_of(load_site(folder).database), backup=report_of(path, archive.manifest),
        new_secrets=not archive.manifest.secrets, missing=sorted(missing), unready=named.unready(missing),
        cancelled=under_way.cancelled, going_back=under_way.going_back, holds=not tell,
    )  # fmt: skip


def _refuse_existing(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        what = "There is a site in" if (folder / SITE_FILE).exists() else "Something is in"
        raise ContractError(
            "conflict", f"{what} {folder} already; nothing was changed.",
            hint="Name a new folder; or move the old one away, once its server is stopped.",
        )  # fmt: skip
    if folder.exists() and folder.is_mount():
        raise ContractError("conflict", f"{folder} is a disk of its own.", hint="Name a new folder on it.")


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, which the block renames to that, or which is gone at the end."""
    made = folder.with_name(f".{folder.name}.restoring")
    with disk_errors(f"the folder {made}"):
        refuse_file_above(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with disk_errors(f"the folder {made}"):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ContractError(
                    "conflict", f"Another site is being restored in {folder.parent}.", hint="Wait for it."
                ) from None
            if made.exists():
                shutil.rmtree(made)
            made.mkdir(mode=0o700)
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(lock)


def _make_site(made: Path, folder: Path, archive: Archive, database: str, blobs: str) -> Site:
    """The folder's files but for its tables and blobs."""
    manifest = archive.manifest
    kept = _config(archive)
    wanted = "" if database == IN_FOLDER else database or kept.database
    site, _ = create_site(made, database=wanted, blobs=blobs or kept.blobs, tls=kept.tls)
    for name, part in manifest.secrets.items():
        # A database that was named just now has its own password.
        if name != OF_DATABASE or not database:
            with disk_errors("the secrets"):
                write_atomically(made / "secrets" / name, archive.data(part), mode=0o600)
    config = msgspec.structs.replace(
        kept, schema=SCHEMA, name=kept.name or folder.name, database=site.config.database, blobs=site.config.blobs
    )
    with disk_errors("the site's file"):
        write_config(made, config)
    return load_site(made)


def _config(archive: Archive) -> SiteConfig:
    """The `site.toml` of the backup; what this release doesn't know of it is left out."""
    known = {
        name: value for name, value in archive.manifest.config.items() if name in SiteConfig.__struct_fields__
    }
    try:
        return msgspec.convert(known, SiteConfig)
    except msgspec.ValidationError as error:
        raise ContractError(
            "malformed", f"The site.toml in the backup {archive.path} can't be read: {error}."
        ) from error


def _write_blobs(made: Path, store: Blobs, archive: Archive, progress: Progress) -> None:
    parts = archive.manifest.blobs
    total, done = sum(part.size_bytes for part in parts), 0

    def told(part: BackupPart) -> Iterator[bytes]:
        nonlocal done
        for piece in archive.pieces(part):
            done += len(piece)
            progress("bytes", done, total)
            yield piece

    if isinstance(store, BlobStore) and store.folder.parent == made:
        for part in parts:
            _write_file(store.folder / part.sha256, told(part))
        return
    spool = made / "run" / "spool"
    for first in range(0, len(parts), _AT_ONCE):
        with store.batch() as batch:
            for part in parts[first : first + _AT_ONCE]:
                _write_file(spool, told(part))
                batch.add(spool, part.sha256, part.size_bytes, what=f"The blob {part.sha256[:12]}…")
                spool.unlink()


def _write_file(path: Path, pieces: Iterator[bytes]) -> None:
    with (
        disk_errors(f"the file {path}"),
        os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400), "wb") as file,
    ):
        for piece in pieces:
            file.write(piece)


def _fill(db: Database, archive: Archive, progress: Progress, *, tell: bool) -> UnderWay:
    manifest = archive.manifest
    if (found := _done_before(db, manifest)) is not None:
        return found
    try:
        with db.made_anew(
            manifest.form, lambda connection: read_tables(connection, manifest.tables, archive.data, progress)
        ) as session:
            found = settle(session, manifest.id, manifest.made_at, tell=tell)
            note = {"backup": manifest.id, "cancelled": found.cancelled, "going_back": found.going_back}
            if db.shared:  # else it goes and comes with its folder
                session.merge(ControlRow(name=_RESTORING, value=msgspec.json.encode(note).decode()))
            return found
    except ContractError as error:
        if error.code != "unknown-schema":
            raise
        raise ContractError(
            "unknown-schema",
            f"The backup {archive.path} was made by edgelift {manifest.version}; its tables have the form"
            f" {manifest.form}, which this release doesn't know.",
            hint=f"Install edgelift {manifest.version} or newer, and restore with that.",
        ) from error


def _done_before(db: Database, manifest: BackupManifest) -> UnderWay | None:
    """What a restore of this very backup had settled that was ended before its folder had a name; else None."""
    with db.read() as session:
        if db.form(session.connection()) is None:
            return None
        row = session.get(ControlRow, _RESTORING)
        if row is None:
            return None
        said: Mapping[str, Any] = msgspec.json.decode(row.value)
        return UnderWay(said["cancelled"], said["going_back"]) if said["backup"] == manifest.id else None


def _forget(db: Database) -> None:
    """Drop the mark; should that fail, it harms nobody: it only lets the same backup be put back into a folder once more."""
    try:
        with db.write(SITE) as session:
            session.execute(sa.delete(ControlRow).where(ControlRow.name == _RESTORING))
    except EdgeliftError as error:
        log.warning("the mark of the restore stays in the database code=%s %s", error.code, error.message)
    finally:
        db.close()


def _sync(folder: Path) -> None:
    """What was written is on the disk before it gets its name."""
    for path in [folder, *folder.rglob("*")]:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _missing(store: Blobs, named: NamedBlobs) -> set[str]:
    return named.needed - store.sizes(named.needed).keys()
