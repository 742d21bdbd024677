"""One release with what names it, and what its manifests say: for the API and for its page."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.errors import EdgeliftError
from edgelift_contract.manifest import Manifest, SourceSignature, TensorSpec, parse_manifest
from edgelift_contract.meaning import TensorMeaning
from edgelift_fleet.blobs import Blobs
from edgelift_fleet.messages import ReleaseDetail, ReleaseMeaning
from edgelift_fleet.release_list import release_views
from edgelift_fleet.tables import ArtifactRow, ReleaseRow
from edgelift_fleet.trust.going_back import may_go_back_to
from edgelift_fleet.uses import release_uses


def release_detail(
    session: Session, row: ReleaseRow, folder: Path, blobs: Blobs, manifests: Collection[Manifest] | None = None
) -> ReleaseDetail:
    """A release, and what names it.

    Args:
        session: to read by.
        row: of the release.
        folder: where a damaged blob would be set aside.
        blobs: of the site.
        manifests: of its artifacts, where they were read already.
    """
    view = release_views(session, [row], folder)[0]
    if manifests is None:
        manifests = read_manifests(session, row, blobs).values()
    allowed = may_go_back_to(session, row.model, {one.id for one in view.artifacts})
    return ReleaseDetail(
        view, release_uses(session, row), signatures(manifests), allow_older=allowed is True,
        meanings=meanings(manifests),
    )  # fmt: skip


def read_manifests(session: Session, row: ReleaseRow, blobs: Blobs) -> dict[str, Manifest]:
    """Artifact → its manifest; without those that are gone or can't be read."""
    query = sa.select(ArtifactRow.id, ArtifactRow.manifest_bytes).where(ArtifactRow.release_id == row.id)
    found: dict[str, Manifest] = {}
    for artifact, size in session.execute(query):
        try:
            if blobs.size(artifact) is not None:
                found[artifact] = parse_manifest(b"".join(blobs.read(artifact, 0, size)))
        except EdgeliftError:
            continue
    return found


def signatures(manifests: Iterable[Manifest]) -> list[SourceSignature]:
    """Those that the sources of these artifacts came with, each once. Pure."""
    found: list[SourceSignature] = []
    for manifest in manifests:
        told = manifest.provenance.signature
        if told is not None and told not in found:
            found.append(told)
    return found


def meanings(manifests: Iterable[Manifest]) -> list[ReleaseMeaning]:
    """What the sources of these artifacts told, each once; those that told nothing are left out. Pure."""
    found: list[ReleaseMeaning] = []
    for manifest in manifests:
        told = ReleaseMeaning(_told(manifest.inputs), _told(manifest.outputs), manifest.metadata)
        if told != ReleaseMeaning() and told not in found:
            found.append(told)
    return found


def _told(specs: Iterable[TensorSpec]) -> dict[str, TensorMeaning]:
    return {spec.name: spec.meaning for spec in specs if spec.meaning is not None}
