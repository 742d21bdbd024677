"""The release's index: its artifacts best first, with what was measured of each on the building machine."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgelift_builder.candidate import Examined, Measured, Packaged
from edgelift_builder.measure.runtimes import version as runtime_version
from edgelift_builder.package import Identity
from edgelift_contract import codec
from edgelift_contract.manifest import Measurement
from edgelift_contract.release import MANIFESTS, RELEASE_FILE, Release, ReleaseArtifact


def write_index(about: Identity, ranked: dict[str, list[Packaged]], folder: Path) -> Release:
    """Write `release.json`: artifacts by hardware class, best first; one entry per artifact."""
    entries: dict[str, ReleaseArtifact] = {}
    for packaged in ranked.values():
        for rank, one in enumerate(packaged):
            entry = _entry(one, about.host, rank, folder)
            known = entries.get(entry.id)
            if known is not None:  # two boards of one hardware class and the same options share an artifact
                entry = _joined(known, entry)
            entries[entry.id] = entry
    release = Release(
        schema=Release.SCHEMA, model=about.model, version=about.version, release_counter=about.counter,
        artifacts=list(entries.values()),
    )  # fmt: skip
    (folder / RELEASE_FILE).write_bytes(codec.canonical_json(release) + b"\n")
    return release


def _entry(packaged: Packaged, host: str, rank: int, folder: Path) -> ReleaseArtifact:
    candidate = packaged.candidate
    manifest_bytes = (folder / MANIFESTS / packaged.artifact).stat().st_size
    return ReleaseArtifact(
        id=packaged.artifact,
        manifest_bytes=manifest_bytes,
        hardware_class=candidate.target.hardware_class,
        targets=[candidate.target.name],
        runtime=candidate.runtime,
        format=candidate.variant.format,
        variant=candidate.variant.name,
        rank=rank,
        size_bytes=candidate.size_bytes + candidate.examination.goldens.stat().st_size,
        measurement=_measurement(candidate, packaged.artifact, host),
    )


def _joined(known: ReleaseArtifact, entry: ReleaseArtifact) -> ReleaseArtifact:
    targets = sorted({*known.targets, *entry.targets})
    return msgspec.structs.replace(known, targets=targets)


def _measurement(candidate: Examined, artifact: str, host: str) -> Measurement | None:
    if not isinstance(candidate, Measured):
        return None
    return Measurement(
        artifact=artifact,
        measured_on=host,
        runtime=f"{candidate.runtime} {runtime_version(candidate.runtime)}",
        latency_us=candidate.latency.histogram,
        load_ms=round(candidate.cost.load_ms, 3) if candidate.cost else 0.0,
        peak_memory_bytes=candidate.cost.peak_bytes if candidate.cost else 0,
        float_ratio=round(candidate.float_ratio.value, 4) if candidate.float_ratio else 0.0,
        threads=candidate.spec.options.threads,
    )
