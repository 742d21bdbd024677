"""Which blobs a site needs: everything that a release, an assignment, or something to go back to names.

First what the tables name, in a transaction that lasts no longer than that; then what the manifests of it name, however far
the store is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract import codec
from edgelift_contract.errors import ContractError
from edgelift_contract.ids import SHA256_PATTERN
from edgelift_contract.manifest import MAX_MANIFEST_BYTES, parse_manifest
from edgelift_fleet.blobs import Blobs
from edgelift_fleet.tables import ArtifactRow, AssignmentRow, ReleaseRow, RolloutDeviceRow, SlotStateRow

#: Manifests that are read side by side: of a far store most of the time is its way.
_AT_ONCE = 16

_T = TypeVar("_T")


class _Artifact(msgspec.Struct):
    artifact: str = ""


class _Slots(msgspec.Struct):
    slots: dict[str, _Artifact] = {}


@dataclass(frozen=True)
class NamedArtifacts:
    """What the tables name.

    Attributes:
        releases: `digits@2` → its artifacts.
        others: artifacts that are assigned, served, or to be gone back to.
    """

    releases: dict[str, list[str]]
    others: set[str]


@dataclass(frozen=True)
class NamedBlobs:
    """What a site needs.

    Attributes:
        releases: `digits@2` → its artifacts.
        files: artifact → the blobs of its files; only of those whose manifest is there and whole.
        unread: artifacts of releases whose manifest is missing or damaged: what they need isn't known.
    """

    releases: dict[str, list[str]]
    files: dict[str, list[str]] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)

    @property
    def all(self) -> set[str]:
        """Whatever is named."""
        return self.needed | self.files.keys() | {file for files in self.files.values() for file in files}

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


def named_artifacts(session: Session) -> NamedArtifacts:
    """What the tables name now, the oldest release first."""
    rows = sa.select(ReleaseRow.model, ReleaseRow.version, ArtifactRow.id)
    rows = rows.join(ArtifactRow, ArtifactRow.release_id == ReleaseRow.id).order_by(ReleaseRow.id, ArtifactRow.id)
    releases: dict[str, list[str]] = {}
    for model, version, artifact in session.execute(rows):
        artifacts = releases.setdefault(f"{model}@{version}", [])
        artifacts += [artifact] if _is_digest(artifact) else []
    return NamedArtifacts(releases, _others(session))


def _others(session: Session) -> set[str]:
    found = set(session.scalars(sa.select(SlotStateRow.artifact).distinct()))
    found |= set(session.scalars(sa.select(RolloutDeviceRow.artifact).distinct()))
    for body in session.scalars(sa.select(RolloutDeviceRow.previous).distinct()):
        read = _read(body, _Artifact)
        found |= {read.artifact} if read else set()
    for body in session.scalars(sa.select(AssignmentRow.body)):
        slots = _read(body, _Slots)
        found |= {slot.artifact for slot in slots.slots.values()} if slots else set()
    return {artifact for artifact in found if _is_digest(artifact)}


def _is_digest(text: str) -> bool:
    return re.match(SHA256_PATTERN, text) is not None


def named_blobs(named: NamedArtifacts, blobs: Blobs) -> NamedBlobs:
    """What the artifacts and their manifests name. Raises what a far store raises."""
    found = NamedBlobs(named.releases)
    published = {artifact for artifacts in named.releases.values() for artifact in artifacts}
    for artifact, data in _read_manifests(blobs, sorted(published | named.others)):
        if (files := _files(artifact, data)) is not None:
            found.files[artifact] = files
        elif artifact in published:
            found.unread.add(artifact)
    return found


def _read_manifests(blobs: Blobs, artifacts: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """(artifact, its manifest's bytes; none where it is missing). Threads only read: the first decoding of a type is no
    matter for several.
    """
    sizes = blobs.sizes(artifacts)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="manifests") as readers:
        for first in range(0, len(artifacts), 4 * _AT_ONCE):
            some = artifacts[first : first + 4 * _AT_ONCE]
            yield from zip(
                some, readers.map(lambda one: _read_one(blobs, one, sizes.get(one, 0)), some), strict=True
            )


def _read_one(blobs: Blobs, artifact: str, size: int) -> bytes:
    if not 0 < size <= MAX_MANIFEST_BYTES:
        return b""
    try:
        return b"".join(blobs.read(artifact, 0, size))
    except (ContractError, OSError):
        return b""


def _files(artifact: str, manifest: bytes) -> list[str] | None:
    """The files that a manifest names; None where it is missing or isn't what its name says."""
    if codec.digest(manifest) != artifact:
        return None
    try:
        return [entry.sha256 for entry in parse_manifest(manifest).files]
    except ContractError:
        return None


def _read(body: str, kind: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
