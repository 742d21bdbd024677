"""Where a release's artifacts came from, what they promise, and their files. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from edgelift_contract.manifest import Manifest
from edgelift_contract.release import Release, ReleaseArtifact


class ReleaseWay(msgspec.Struct, frozen=True):
    """How some artifacts, as `int8-static (litert)`, were made: the steps in order, and versions of what ran them."""

    artifacts: list[str]
    steps: list[str]
    tools: dict[str, str]


class ReleaseOrigin(msgspec.Struct, frozen=True):
    """Where artifacts came from, and what they promise: those of which it is the same, once.

    Attributes:
        recipe, source_sha256: see `Provenance`.
        judged: how it was judged, in words.
        goldens: how many are compared on the board before it serves.
        budgets: what it must keep to, in words.
        ways: how each was made.
    """

    recipe: str
    source_sha256: str
    judged: str
    goldens: int
    budgets: list[str]
    ways: list[ReleaseWay]


def origins_of(release: Release, manifests: Mapping[str, Manifest]) -> list[ReleaseOrigin]:
    """Where the artifacts of a release came from, best first."""
    found: dict[str, ReleaseOrigin] = {}
    for entry in _ranked(release):
        if (manifest := manifests.get(entry.id)) is None:
            continue
        told = manifest.provenance
        made = ReleaseOrigin(
            told.recipe, told.source_sha256, manifest.judged, manifest.goldens.count, _budgets(manifest), []
        )
        _add(
            found.setdefault(repr(made), made).ways, ReleaseWay([name_of_artifact(entry)], told.steps, told.tools)
        )
    return list(found.values())


def _add(ways: list[ReleaseWay], way: ReleaseWay) -> None:
    same = next((one for one in ways if (one.steps, one.tools) == (way.steps, way.tools)), None)
    if same is None:
        ways.append(way)
    elif way.artifacts[0] not in same.artifacts:
        same.artifacts.append(way.artifacts[0])


def _ranked(release: Release) -> list[ReleaseArtifact]:
    return sorted(release.artifacts, key=lambda one: (one.rank, one.id))


def name_of_artifact(entry: ReleaseArtifact) -> str:
    """As `int8-static (litert)`."""
    return f"{entry.variant} ({entry.runtime})"


def _budgets(manifest: Manifest) -> list[str]:
    asked = manifest.budgets
    told = [
        (asked.accuracy_drop_pp, "accuracy at most {:g} points below float"),
        (asked.loss_percent, "at most {:g} % worse than float"),
        (asked.latency_p95_ms, "p95 at most {:g} ms"),
        (asked.peak_memory_bytes, "at most {:,d} B of memory"),
    ]
    return [text.format(value) for value, text in told if value is not None]


class ArtifactFile(msgspec.Struct, frozen=True):
    """A file of an artifact; `role` is `model`, `weights` or `goldens`."""

    artifact: str
    path: str
    role: str
    size_bytes: int
    sha256: str


def files_of(release: Release, manifests: Mapping[str, Manifest]) -> list[ArtifactFile]:
    """The files of a release's artifacts, each once, best artifact first."""
    found: dict[ArtifactFile, None] = {}
    for entry in _ranked(release):
        manifest, name = manifests.get(entry.id), name_of_artifact(entry)
        for file in manifest.files if manifest else ():
            found[ArtifactFile(name, file.path, file.role, file.size_bytes, file.sha256)] = None
    return list(found)
