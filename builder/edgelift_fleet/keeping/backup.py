"""A site's backup: tables of one moment, the blobs that they name, and secrets if they are wanted. While the server runs.

The tables are read in one transaction, so they are of one moment on either engine. Blobs come after them: a release is
inserted once its blobs are there, they never change, and what nothing names is kept for an hour before it is collected.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from edgelift_contract import __version__
from edgelift_contract.errors import ContractError, DeviceError
from edgelift_fleet.blobs import Blobs
from edgelift_fleet.db import Database
from edgelift_fleet.engines import parse_url, take_password
from edgelift_fleet.keeping.archive import ArchiveWriter, new_archive, open_archive
from edgelift_fleet.keeping.named import NamedBlobs, named_artifacts, named_blobs
from edgelift_fleet.keeping.rows import Progress, unpack, write_tables
from edgelift_fleet.messages.keeping import BackupManifest, BackupPart, BackupReport, BackupTable
from edgelift_fleet.remote_blobs import open_blobs
from edgelift_fleet.site import Site

log = logging.getLogger(__name__)

#: In place of what can't be read come so many zeros at once.
_PIECE_BYTES = 8 << 20


def no_progress(_what: str, _done: int, _all: int) -> None:
    """Tell nobody."""


def back_up(
    site: Site, db: Database, path: Path, *, with_blobs: bool = True, with_secrets: bool = False,
    progress: Progress = no_progress,
) -> BackupReport:  # fmt: skip
    """Write a site's backup to `path`, which is there whole at the end, or not at all.

    Args:
        site: the site; its server may run.
        db: its database, of whatever form.
        path: a new file.
        with_blobs: also the bytes of blobs, not only which there must be.
        with_secrets: also tokens, the broker's key and the database's password.
        progress: told (`rows` or `bytes`, done, all).

    Raises:
        ContractError: `conflict` when the file exists, `not-found` when the site has no tables yet.
        DeviceError: `disk-full`, `read-only`, `disk-error`, `bad-config`.
        TransportError: `busy` when the database or a far blob store does not answer.
    """
    blobs = open_blobs(site)
    with new_archive(path) as archive:
        with db.read() as session:
            # PostgreSQL's and SQLite's state is of the first statement.
            form, made_at = db.form(session.connection()), time.time()
            if form is None:
                raise ContractError(
                    "not-found", f"The database {db.name} has no tables yet.", hint="Make them: edgelift init."
                )
            artifacts = named_artifacts(session)
            tables = write_tables(session.connection(), archive.add, progress)
        named = named_blobs(artifacts, blobs)
        kept, lost = _write_blobs(archive, blobs, named, progress, with_bytes=with_blobs)
        manifest = BackupManifest(
            schema=BackupManifest.SCHEMA, id=uuid.uuid4().hex, made_at=made_at, version=__version__,
            site=site.config.name, config=_config(site), engine=db.engine.dialect.name, form=form, tables=tables,
            releases=list(named.releases), blobs=kept, with_blobs=with_blobs, lost=lost,
            secrets=_write_secrets(archive, site) if with_secrets else {},
        )  # fmt: skip
        archive.finish(manifest)
    return report_of(path, manifest)


def verify(path: Path, *, progress: Progress = no_progress) -> BackupReport:
    """Read a backup to its last byte and hold it against its manifest.

    Raises:
        ContractError: what is wrong with it, as `open_archive`.
    """
    with open_archive(path) as archive:
        manifest = archive.manifest
        total = sum(part.size_bytes for part in _parts(manifest))
        done = 0
        for table in manifest.tables:
            rows = 0
            for part in table.parts:
                rows += len(unpack(archive.data(part), columns=len(table.columns)))
                done += part.size_bytes
                progress("bytes", done, total)
            _check_rows(path, table, rows)
        for part in [*manifest.secrets.values(), *(manifest.blobs if manifest.with_blobs else ())]:
            for piece in archive.pieces(part):
                done += len(piece)
                progress("bytes", done, total)
        return report_of(path, manifest)


def _check_rows(path: Path, table: BackupTable, rows: int) -> None:
    if rows != table.rows:
        raise ContractError(
            "malformed", f"The backup {path} has {rows} rows of {table.name}; its manifest says {table.rows}."
        )


def _parts(manifest: BackupManifest) -> Iterator[BackupPart]:
    for table in manifest.tables:
        yield from table.parts
    yield from manifest.secrets.values()
    if manifest.with_blobs:
        yield from manifest.blobs


def report_of(path: Path, manifest: BackupManifest) -> BackupReport:
    """What a backup holds, for people."""
    rows = {table.name: table.rows for table in manifest.tables}
    return BackupReport(
        path=str(path), size_bytes=path.stat().st_size, made_at=manifest.made_at, site=manifest.site,
        engine=manifest.engine, version=manifest.version, form=manifest.form, devices=rows.get("device", 0),
        rows=sum(rows.values()), releases=manifest.releases, blobs=len(manifest.blobs),
        blob_bytes=sum(part.size_bytes for part in manifest.blobs), with_blobs=manifest.with_blobs,
        with_secrets=bool(manifest.secrets), lost=manifest.lost,
    )  # fmt: skip


def _write_blobs(
    archive: ArchiveWriter, blobs: Blobs, named: NamedBlobs, progress: Progress, *, with_bytes: bool
) -> tuple[list[BackupPart], list[str]]:
    """The blobs that are whole, and those that are missing or damaged."""
    sizes = blobs.sizes(named.all)
    total, done = sum(sizes.values()), 0
    kept, lost = [], []
    for sha256 in sorted(named.all):
        if (size := sizes.get(sha256)) is None:
            if sha256 in named.needed:
                lost.append(sha256)
            continue
        part = BackupPart(f"blobs/{sha256}", size, sha256)
        if with_bytes:
            found = archive.stream(part.name, size, _told(_readable(blobs, sha256, size), done, total, progress))
            done += size
            if found.sha256 != sha256:  # what the disk has altered is in the file, and in no manifest
                lost.append(sha256)
                continue
        kept.append(part)
    return kept, lost


def _readable(blobs: Blobs, sha256: str, size: int) -> Iterator[bytes]:
    """A blob's bytes; zeros from where its disk refuses: one bad sector must not keep a site from being backed up."""
    left = size
    try:
        for piece in blobs.read(sha256, 0, size):
            yield piece
            left -= len(piece)
    except OSError as error:
        log.error("the blob %s cannot be read: %s", sha256, error.strerror)
    while left > 0:
        count = min(left, _PIECE_BYTES)
        yield bytes(count)
        left -= count


def _told(pieces: Iterator[bytes], done: int, total: int, progress: Progress) -> Iterator[bytes]:
    for piece in pieces:
        done += len(piece)
        progress("bytes", done, total)
        yield piece


def _config(site: Site) -> dict[str, str | bool | float | int | list[str] | dict[str, Any]]:
    """`site.toml` without a password."""
    config: dict[str, str | bool | float | int | list[str] | dict[str, Any]] = msgspec.to_builtins(site.config)
    if site.config.database:
        url, _ = take_password(parse_url(site.config.database))
        config["database"] = url.set(drivername=url.get_backend_name()).render_as_string(hide_password=False)
    return config


def _write_secrets(archive: ArchiveWriter, site: Site) -> dict[str, BackupPart]:
    folder = site.folder / "secrets"
    try:
        return {
            path.name: archive.add(f"secrets/{path.name}", path.read_bytes())
            for path in sorted(folder.iterdir())
            if path.is_file() and not path.name.startswith(".")
        }
    except PermissionError as error:
        raise DeviceError(
            "bad-config",
            f"The secrets in {folder} cannot be read: {error.strerror}.",
            hint="Run as the site's owner.",
        ) from error
