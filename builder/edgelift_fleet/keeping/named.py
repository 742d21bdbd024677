"""Which blobs a site needs: everything that a release, an assignment, or something to go back to names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract import codec
from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import MAX_MANIFEST_BYTES, parse_manifest
from edgelift_fleet.blobs import Blobs
from edgelift_fleet.tables import (
    ArtifactRow,
    AssignmentRow,
    ReleaseRow,
    RolloutDeviceRow,
    SlotStateRow,
)

_T = TypeVar("_T")


class _Artifact(msgspec.Struct):
    artifact: str = ""


class _Slots(msgspec.Struct):
    slots: dict[str, _Artifact] = {}


@dataclass(frozen=True)
class NamedBlobs:
    """What is named.

    Attributes:
        blobs: SHA-256 → how many bytes it must have; 0 where nothing says.
        releases: `digits@2` → its artifacts.
        files: artifact → the blobs of its files; only those whose manifest is there and whole.
        unread: artifacts of releases whose manifest is missing or damaged: what they need isn't known.
    """

    blobs: dict[str, int] = field(default_factory=dict)
    releases: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)

    @property
    def needed(self) -> set[str]:
        """The blobs of releases: what must be there."""
        artifacts = {artifact for found in self.releases.values() for artifact in found}
        return artifacts | {file for artifact in artifacts for file in self.files.get(artifact, ())}

    def unready(self, missing: set[str]) -> list[str]:
        """The releases that lack one of these blobs, or of which that isn't known."""
        lacking = {a for a, files in self.files.items() if a in missing or not missing.isdisjoint(files)}
        lacking |= self.unread | missing
        return [name for name, artifacts in self.releases.items() if not lacking.isdisjoint(artifacts)]


def find_named(session: Session, blobs: Blobs) -> NamedBlobs:
    """What a site names now. Raises what a far store raises."""
    found = NamedBlobs()
    rows = sa.select(ReleaseRow.model, ReleaseRow.version, ArtifactRow.id, ArtifactRow.manifest_bytes)
    rows = rows.join(ArtifactRow, ArtifactRow.release_id == ReleaseRow.id).order_by(ReleaseRow.id)
    for model, version, artifact, size_bytes in session.execute(rows):
        found.releases.setdefault(f"{model}@{version}", []).append(artifact)
        _add(found, blobs, artifact, size_bytes, published=True)
    for artifact in sorted(_others(session) - found.blobs.keys()):
        _add(found, blobs, artifact, 0, published=False)
    return found


def _add(found: NamedBlobs, blobs: Blobs, artifact: str, size_bytes: int, *, published: bool) -> None:
    found.blobs[artifact] = size_bytes
    files = _files(blobs, artifact)
    if files is None:
        if published:
            found.unread.add(artifact)
        return
    found.files[artifact] = list(files)
    found.blobs.update(files)


def _files(blobs: Blobs, artifact: str) -> dict[str, int] | None:
    """The files that a manifest names, with their lengths; None where it is missing or isn't what its name says."""
    try:
        size = blobs.size(artifact)
        if size is None or size > MAX_MANIFEST_BYTES:
            return None
        data = b"".join(blobs.read(artifact, 0, size))
        if codec.digest(data) != artifact:
            return None
        return {entry.sha256: entry.size_bytes for entry in parse_manifest(data).files}
    except (ContractError, OSError):
        return None


def _others(session: Session) -> set[str]:
    """Artifacts that are assigned, served, or to be gone back to, whether a release has them or not."""
    found = set(session.scalars(sa.select(SlotStateRow.artifact).distinct()))
    found |= set(session.scalars(sa.select(RolloutDeviceRow.artifact).distinct()))
    for body in session.scalars(sa.select(RolloutDeviceRow.previous).distinct()):
        found |= {one.artifact for one in [_read(body, _Artifact)] if one}
    for body in session.scalars(sa.select(AssignmentRow.body)):
        read = _read(body, _Slots)
        found |= {slot.artifact for slot in read.slots.values()} if read else set()
    return {artifact for artifact in found if len(artifact) == 64 and artifact.isalnum()}


def _read(body: str, kind: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
