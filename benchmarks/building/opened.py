"""An artifact of a release, laid out so that its runtime alone can open it."""

import shutil
from pathlib import Path

from edgelift_builder.measure.runtimes import ModelSpec
from edgelift_contract.manifest import parse_manifest
from edgelift_contract.release import BLOBS, MANIFESTS


def laid_out(release: Path, artifact: str, axes: dict[str, int | None], folder: Path) -> ModelSpec:
    """Copy an artifact's files under their own names into `folder`, and say how to open them."""
    manifest = parse_manifest((release / MANIFESTS / artifact).read_bytes())
    main = next(f.path for f in manifest.files if f.role == "model")
    for file in manifest.files:
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(release / BLOBS / file.sha256, folder / file.path)
    names = tuple(s.name for s in manifest.inputs), tuple(s.name for s in manifest.outputs)
    return ModelSpec(manifest.runtime, folder / main, manifest.options, *names, batch_free=False, axes=axes)


def size_bytes(spec: ModelSpec) -> int:
    """Of the model's files: what lies beside it and is neither a golden nor left by a quantiser."""
    beside = (p for p in spec.path.parent.rglob("*") if p.is_file() and p != spec.path)
    return spec.path.stat().st_size + sum(p.stat().st_size for p in beside if p.suffix in (".bin", ".data"))
