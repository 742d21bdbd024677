"""The release: a model at a version, with its artifacts for all targets and the evidence for each.

On disk, as the builder writes it and the control plane takes it:

    release.json                 this message
    report.json                  everything measured, rejected candidates included; for people and tools
    manifests/<artifact id>      canonical bytes of each manifest
    blobs/<sha256>               every file that a manifest names, once
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from edgelift_contract.bounds import Schema, Word
from edgelift_contract.ids import Bytes, Count, Name, Sha256, Version
from edgelift_contract.manifest import Measurement

RELEASE_FILE = "release.json"
REPORT_FILE = "report.json"
MANIFESTS = "manifests"
BLOBS = "blobs"


class ReleaseArtifact(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One artifact of a release, as an index entry; the manifest is the truth.

    Attributes:
        rank: preference among the artifacts for one hardware class, 0 first; by measurement where there was
            one, else by the target's own order.
        size_bytes: of all files together.
        measurement: what the build host measured; None where it could not (another hardware class).
    """

    id: Sha256
    manifest_bytes: Bytes
    hardware_class: Word
    targets: Annotated[list[Word], Meta(max_length=256)]
    runtime: Word
    format: Word
    variant: Word
    rank: Annotated[int, Meta(ge=0, le=1_000_000)]
    size_bytes: Bytes
    measurement: Measurement | None = None


class Release(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What `edgelift build` wrote."""

    SCHEMA: ClassVar[int] = 1

    schema: Schema
    model: Name
    version: Version
    release_counter: Count
    artifacts: Annotated[list[ReleaseArtifact], Meta(min_length=1, max_length=4096)]
