"""A release whose artifacts were judged and timed, so that its page has all there is: pictures, verdicts, what lacks."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgelift_contract import codec
from edgelift_contract.histogram import Histogram
from edgelift_contract.manifest import Evidence, Manifest, Measurement, dump_manifest, parse_manifest
from edgelift_contract.release import BLOBS, MANIFESTS, RELEASE_FILE, ReleaseArtifact
from tests.fleet.releases import make_release
from tests.simulators.releases import write_release

#: Variant → accuracy, median in microseconds.
_VARIANTS = {"float32": (0.981, 900.0), "int8": (0.976, 350.0), "int8-static": (0.912, 420.0)}


def make_judged(folder: Path) -> Path:
    """Write `faces@1`: three artifacts for two classes, of which one was timed; returns its folder."""
    plain = make_release(folder / "plain", "1", model="faces")
    at = folder / "plain"
    made = [parse_manifest((at / MANIFESTS / one.id).read_bytes()) for one in plain.artifacts]
    manifests = [dump_manifest(_judged(one, variant))[1] for one in made for variant in _VARIANTS]
    blobs = {path.name: path.read_bytes() for path in (at / BLOBS).iterdir()}
    release = write_release(folder / "faces@1", manifests, blobs)
    timed = msgspec.structs.replace(release, artifacts=[_timed(one) for one in release.artifacts])
    (folder / "faces@1" / RELEASE_FILE).write_bytes(codec.canonical_json(timed))
    return folder / "faces@1"


def _judged(one: Manifest, variant: str) -> Manifest:
    value = _VARIANTS[variant][0]
    found = Evidence(
        "accuracy", value, value - 0.02, value + 0.015, 500, codec.digest(b"data"), 0.981, "x86-64-avx2",
        "onnxruntime 1.32.0", verdict="holds" if value > 0.95 else "fails",
    )  # fmt: skip
    return msgspec.structs.replace(one, variant=variant, evidence=[found], judged="500 samples of faces.npz")


def _timed(one: ReleaseArtifact) -> ReleaseArtifact:
    if one.hardware_class != "x86-64-avx2":
        return one
    times = Histogram()
    median = _VARIANTS[one.variant][1]
    times.record_all([median] * 50)
    measured = Measurement(
        one.id, "x86-64-avx2", "onnxruntime 1.32.0", times.to_data(), float_ratio=_VARIANTS["float32"][1] / median
    )
    return msgspec.structs.replace(one, measurement=measured)
