"""The registry: which releases exist. A release is taken whole and checked to the last byte, or not at all.

A model at a version is one content for ever: publishing the same again does nothing, another content under
the same name is refused. Publishing needs no running server; a running one sees the release at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract import codec
from edgelift_contract.errors import ContractError
from edgelift_contract.ids import parse_release
from edgelift_contract.manifest import Manifest
from edgelift_contract.release import Release
from edgelift_fleet.blobs import Blobs
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.release_folder import files_of, load_manifest, load_release, release_name
from edgelift_fleet.remote_blobs import open_blobs
from edgelift_fleet.rows import decode_row, is_readable
from edgelift_fleet.site import Site
from edgelift_fleet.tables import ArtifactRow, ReleaseRow
from edgelift_fleet.unnamed import keep

_OF_RELEASE = "Publish it again."


@dataclass(frozen=True)
class Published:
    """What publishing did. `new` is False when the release was there already; `mended` counts its damaged files."""

    release: Release
    new: bool
    size_bytes: int
    mended: int


def publish(
    site: Site, db: Database, folder: Path, *, progress: Callable[[int, int], None] = lambda _done, _all: None
) -> Published:
    """Take a builder's release folder into the site.

    Args:
        site: where to.
        db: its open database.
        folder: as `edgelift_contract.release` describes it.
        progress: told (bytes done, bytes in all).

    Raises:
        ContractError: what is wrong with the release; `conflict` when the version exists with other content.
        DeviceError: `disk-full`, `read-only`, `disk-error`, `bad-config`.
        TransportError: `busy` when the database or a far blob store does not answer.
    """
    release = load_release(folder)
    manifests = [load_manifest(folder, release, entry) for entry in release.artifacts]
    new = not is_published(db, release)
    total = sum(m.total_bytes for m in manifests)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    blobs, mended = open_blobs(site), 0
    while True:
        with blobs.batch() as batch:
            for entry, manifest in zip(release.artifacts, manifests, strict=True):
                of_manifest, *files = files_of(folder, entry, manifest)
                batch.add(of_manifest.path, of_manifest.sha256, of_manifest.size_bytes, what=of_manifest.what)
                for file in files:
                    batch.add(file.path, file.sha256, file.size_bytes, what=file.what, advance=advance)
        mended += batch.mended
        if not new or not insert_release(db, release, digests_of(release, manifests), blobs):
            return Published(release, new, total, mended)
        done = 0  # some were collected meanwhile: nothing named them yet


def digests_of(release: Release, manifests: Sequence[Manifest]) -> list[str]:
    """All blobs of a release: its manifests, and what they name."""
    return sorted(
        {entry.id for entry in release.artifacts} | {f.sha256 for manifest in manifests for f in manifest.files}
    )


def is_published(db: Database, release: Release) -> bool:
    """Is the release there already; a row of it that can't be read is mended.

    Raises:
        ContractError: `conflict` when it is, with other content.
    """
    with db.read() as session:
        row = find_release_row(session, release.model, release.version)
        if row is None:
            return False
        known = set(session.scalars(sa.select(ArtifactRow.id).filter_by(release_id=row.id)))
        damaged = not is_readable(row.body, Release)
    if known != {a.id for a in release.artifacts}:
        raise ContractError(
            "conflict",
            f"{release_name(release)} is published already, with other content.",
            hint="Give the new build a version of its own: edgelift build --version …",
        )
    if damaged:
        with db.write(SITE) as session:
            find = sa.update(ReleaseRow).where(
                ReleaseRow.model == release.model, ReleaseRow.version == release.version
            )
            session.execute(find.values(body=codec.canonical_json(release).decode()))
    return True


def insert_release(db: Database, release: Release, digests: Sequence[str], blobs: Blobs) -> list[str]:
    """Register a release whose files were all there a moment ago.

    Args:
        db: where to.
        release: what.
        digests: all its blobs.
        blobs: where they are.

    Returns:
        Those that were collected in that moment: then nothing was registered. Raises as `is_published`.
    """
    try:
        with db.write(SITE) as session:
            keep(session, digests)
            if gone := sorted(set(digests) - blobs.stored().keys()):
                return gone
            row = ReleaseRow(
                model=release.model,
                version=release.version,
                release_counter=release.release_counter,
                body=codec.canonical_json(release).decode(),
                published_at=time.time(),
            )
            session.add(row)
            session.flush()
            for entry in release.artifacts:
                session.add(
                    ArtifactRow(
                        id=entry.id,
                        release_id=row.id,
                        manifest_bytes=entry.manifest_bytes,
                        variant=entry.variant,
                    )
                )
    except sa.exc.IntegrityError:
        # Someone published the same name a moment ago: equal content is fine, other content raises.
        is_published(db, release)
    return []


def find_release_row(session: Session, model: str, version: str) -> ReleaseRow | None:
    """The row of a release; None when it isn't published."""
    return session.scalars(sa.select(ReleaseRow).filter_by(model=model, version=version)).one_or_none()


def read_release(row: ReleaseRow) -> Release:
    """The release of a row. Raises ContractError `unreadable-row`: publishing it again mends it."""
    return decode_row(row.body, Release, owner=f"{row.model}@{row.version}", what="release", hint=_OF_RELEASE)


def get_release_row(session: Session, name: str) -> ReleaseRow:
    """The row of a published release by `model@version`.

    Raises:
        ContractError: `bad-id`, or `not-found` naming the versions that exist.
    """
    model, version = parse_release(name)
    row = find_release_row(session, model, version)
    if row is not None:
        return row
    others = session.scalars(sa.select(ReleaseRow.version).filter_by(model=model).order_by(ReleaseRow.id)).all()
    hint = f"Published: {', '.join(f'{model}@{v}' for v in others[-5:])}." if others else "See: edgelift releases."
    raise ContractError("not-found", f"There is no release {name}.", hint=hint)


def get_release(session: Session, name: str) -> Release:
    """A published release by `model@version`, retired or not.

    Raises:
        ContractError: `unreadable-row`, and as `get_release_row`.
    """
    return read_release(get_release_row(session, name))


def get_offered(session: Session, name: str) -> Release:
    """The same, of one that may be given to devices that don't have it.

    Raises:
        ContractError: `retired`, and as `get_release`.
    """
    row = get_release_row(session, name)
    if row.retired_at:
        why = f": {row.retired_why.rstrip('.')}" if row.retired_why else ""
        raise ContractError(
            "retired", f"{name} is retired{why}.", hint=f"To give it out again: edgelift releases unretire {name}."
        )
    return read_release(row)
