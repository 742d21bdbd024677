"""The manifest: what one artifact is, byte for byte, and what it promises.

An artifact is one built variant of a model for one hardware class and one runtime. Its id is the SHA-256 of
its manifest in canonical JSON; the manifest names every file by SHA-256 and length, so the id fixes them all.

Two builds of one source in two folders must give one id. So nothing here may depend on a folder, a clock or a
stop-watch: measured latency and memory lie beside the manifest, in `Measurement`, linked by the id (see
docs/adr/0003). Formats live on devices for years: fields may be added with a default, never renamed; an
incompatible change raises `SCHEMA`.

What is not its business: reading files, hashing them, or deciding whether a device may run the artifact
(see `rules`).
"""

from __future__ import annotations

import sys
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from edgelift_contract import codec
from edgelift_contract.bounds import Finite, Line, LongName, Milliseconds, Schema, Text, Word
from edgelift_contract.errors import ContractError
from edgelift_contract.hardware import HardwareClass
from edgelift_contract.histogram import HistogramData
from edgelift_contract.ids import LARGEST_COUNT, Bytes, Count, Name, Sha256, Version
from edgelift_contract.meaning import Metadata, TensorMeaning, wrong_with

#: Tensor element types by their Open Inference Protocol names.
DataType = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
    "FP16", "FP32", "FP64", "BF16", "BYTES",
]  # fmt: skip
Format = Literal["onnx", "tflite", "torchscript"]
RuntimeName = Literal["onnxruntime", "litert", "torchscript"]
FileRole = Literal["model", "weights", "goldens"]

#: The largest manifest that is parsed; real ones are 2 to 6 KB, with the names of 21,841 classes up to a megabyte.
MAX_MANIFEST_BYTES = 2 * 1024 * 1024


class FileEntry(msgspec.Struct, frozen=True):
    """One file of an artifact.

    Attributes:
        path: relative, forward slashes, no `..`; where the runtime expects it.
        size_bytes: exact length.
        sha256: of the whole file; also its blob's name in stores and URLs.
        role: `model` is what the runtime opens; exactly one file has it.
    """

    path: Line
    size_bytes: Bytes
    sha256: Sha256
    role: FileRole


class TensorSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One input or output. `shape` has -1 where the axis is free; axis 0 free means batches are welcome. `meaning` is what
    its source told of the numbers; None for nothing.
    """

    name: LongName
    dtype: DataType
    shape: Annotated[list[Annotated[int, Meta(ge=-1, le=LARGEST_COUNT)]], Meta(max_length=16)]
    meaning: TensorMeaning | None = None


class SessionOptions(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the runtime is to be set up: part of the artifact, because it changes speed and even bits.

    Attributes:
        threads: intra-operator threads; 0 lets the runtime decide.
        spinning: may idle threads spin; costs a core when requests are rare.
        optimisation: graph optimisation level of onnxruntime.
        prepacking: repack weights at load: faster, but a second copy in memory.
        arena: pool CPU allocations; off saves memory on small boards.
        entries: further settings by the runtime's own key, as `session.qdqisint8allowed`.
    """

    threads: Annotated[int, Meta(ge=0, le=256)] = 0
    spinning: bool = False
    optimisation: Literal["disabled", "basic", "extended", "all"] = "all"
    prepacking: bool = True
    arena: bool = True
    entries: Annotated[dict[LongName, LongName], Meta(max_length=256)] = {}


class Tolerance(msgspec.Struct, frozen=True):
    """How near an output must come to its golden.

    Within one `key` (hardware class, runtime, runtime version, options) outputs must be equal to the bit;
    under any other key within `atol` and, where `argmax` is set, with the same largest element.

    Attributes:
        key: the key under which the goldens were recorded.
        atol: largest absolute difference: one quantum of the output for int8, 2e-3 of its range for float16,
            1e-5 for float; see docs/artifact-format.md.
        argmax: must the largest element along the last axis be the same.
    """

    key: LongName
    atol: Annotated[float, Meta(ge=0, le=sys.float_info.max)]
    argmax: bool = True


class Goldens(msgspec.Struct, frozen=True):
    """Which file holds the goldens, how many there are, and how they are compared."""

    path: Line
    count: Annotated[int, Meta(ge=1, le=4096)]
    tolerance: Tolerance


class Budgets(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the artifact must keep to; a limit left out is not checked.

    Attributes:
        accuracy_drop_pp: most that the metric may fall below float, in percentage points, where it is a share of 1.
        loss_percent: most that it may get worse otherwise, per cent of float's.
        latency_p95_ms: most that the 95th percentile of one inference may take on the device, milliseconds.
        peak_memory_bytes: most that loading and running may add to the process, bytes.
    """

    accuracy_drop_pp: Finite | None = None
    loss_percent: Finite | None = None
    latency_p95_ms: Milliseconds | None = None
    peak_memory_bytes: Bytes | None = None


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """One measured statement about the artifact's quality, through its real runtime.

    Attributes:
        metric: what was measured, as `accuracy` or `agreement`.
        value, low, high: the estimate and its 95 % confidence interval, as a share of 1, or in the metric's own unit.
        n: number of samples.
        data_sha256: digest of the evaluation data.
        baseline: the float model's value on the same samples.
        measured_on: hardware class of the machine that measured.
        runtime: runtime and version that measured, as `onnxruntime 1.32.0`.
        verdict: `holds`, `fails` or `cannot-tell` against the accuracy budget.
        unit: empty for shares of 1, whose drop is a share too; `percent` for others, whose drop is a share of float's value.
    """

    metric: Line
    value: Finite
    low: Finite
    high: Finite
    n: Count
    data_sha256: Sha256
    baseline: Finite
    measured_on: Line
    runtime: Line
    verdict: Literal["holds", "fails", "cannot-tell"] = "holds"
    unit: Word = ""


class SourceSignature(msgspec.Struct, frozen=True, omit_defaults=True):
    """The source came with an OpenSSF Model Signing signature, which was verified before anything was made of it.

    Attributes:
        signer: `key sha256:…` or `certificate sha256:… CN=…`, as the builder's user named it.
        model_sha256: what was signed, as the signature's subject names it.
        signature_sha256: of the signature itself.
    """

    signer: Line
    model_sha256: Sha256
    signature_sha256: Sha256


class Provenance(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the artifact came from: digests and versions, never a path, and no person but a signer.

    Attributes:
        source_sha256: of the model's source file or model file.
        recipe: its name and, after `#`, the digest of its content.
        steps: the steps that ran, in order.
        tools: versions of what ran them.
        signature: that the source came with and that held; None where it had none.
    """

    source_sha256: Sha256
    recipe: Line
    steps: Annotated[list[Line], Meta(max_length=1024)] = []
    tools: Annotated[dict[Line, Line], Meta(max_length=256)] = {}
    signature: SourceSignature | None = None


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What one artifact is. Immutable; its canonical bytes hash to the artifact's id.

    Attributes:
        schema: version of this format.
        model, version: the release that the artifact belongs to.
        release_counter: grows with every release of a model; a device never installs a lower one unasked.
        variant: what was done to it, as `float32` or `int8-static`; for people.
        hardware_class: decides which devices may run it.
        format, runtime: how it is stored and who loads it.
        runtime_range: versions of the runtime package that may load it, as `>=1.17`; empty means any.
        task, judged: what the model is for, where its source named it, and how it was judged, for people.
        unmeasured: had no machine of the hardware class timed it when it was built; its rank is then the target's own order.
        metadata: what its source says of it besides, for clients and people; nothing here goes by it.
        files, inputs, outputs, options, goldens, budgets, evidence, provenance: see their types.
    """

    SCHEMA: ClassVar[int] = 1

    schema: Schema
    model: Name
    version: Version
    release_counter: Count
    variant: Name
    hardware_class: HardwareClass
    format: Format
    runtime: RuntimeName
    runtime_range: Line = ""
    files: Annotated[list[FileEntry], Meta(min_length=1, max_length=4096)]
    inputs: Annotated[list[TensorSpec], Meta(min_length=1, max_length=256)]
    outputs: Annotated[list[TensorSpec], Meta(min_length=1, max_length=256)]
    goldens: Goldens
    provenance: Provenance
    options: SessionOptions = SessionOptions()
    budgets: Budgets = Budgets()
    evidence: Annotated[list[Evidence], Meta(max_length=1024)] = []
    task: Line = ""
    judged: Text = ""
    unmeasured: bool = False
    metadata: Metadata = {}

    @property
    def model_file(self) -> FileEntry:
        """The file that the runtime opens."""
        return next(f for f in self.files if f.role == "model")

    @property
    def total_bytes(self) -> int:
        """Length of all files together."""
        return sum(f.size_bytes for f in self.files)


class Measurement(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a machine measured of an artifact's cost; beside the manifest, not in it.

    Attributes:
        artifact: the artifact's id.
        measured_on: hardware class of the machine.
        runtime: runtime and version, as `onnxruntime 1.32.0`.
        latency_us: histogram of warm single inferences at batch 1, microseconds.
        load_ms: time to load, milliseconds.
        peak_memory_bytes: growth of resident memory over load and run, bytes.
        float_ratio: float's median ÷ this one's, interleaved in one run; above 1 is faster than float.
        threads: intra-operator threads used.
    """

    artifact: Sha256
    measured_on: Line
    runtime: Line
    latency_us: HistogramData
    load_ms: Milliseconds = 0.0
    peak_memory_bytes: Bytes = 0
    float_ratio: Annotated[float, Meta(ge=0, le=1e12)] = 0.0
    threads: Annotated[int, Meta(ge=0, le=65536)] = 1


def dump_manifest(manifest: Manifest) -> tuple[str, bytes]:
    """The artifact's id and the manifest's canonical bytes. Law: `parse_manifest(dump_manifest(m)[1]) == m`."""
    data = codec.canonical_json(manifest)
    return codec.digest(data), data


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest and check what its types can't say.

    Raises:
        ContractError: `too-large`, `malformed`, `unknown-schema` or `bad-path`.
    """
    manifest = codec.decode_json(data, Manifest, what="manifest", limit_bytes=MAX_MANIFEST_BYTES)
    seen: set[str] = set()
    for entry in manifest.files:
        check_path(entry.path)
        if entry.path in seen:
            raise ContractError("malformed", f"The manifest names the file {entry.path!r} twice.")
        seen.add(entry.path)
    if sum(f.role == "model" for f in manifest.files) != 1:
        raise ContractError("malformed", "The manifest must have exactly one file with the role 'model'.")
    if not any(f.path == manifest.goldens.path and f.role == "goldens" for f in manifest.files):
        raise ContractError(
            "malformed", f"The manifest's goldens {manifest.goldens.path!r} are not among its files."
        )
    for spec in (*manifest.inputs, *manifest.outputs):
        if spec.meaning is not None and (wrong := wrong_with(spec.meaning, spec.shape)):
            raise ContractError("malformed", f"What the manifest tells of {spec.name!r:.80} can't be: {wrong}.")
    return manifest


def check_path(path: str) -> str:
    """Return `path` if it stays in the artifact's folder whatever system reads it.

    Raises:
        ContractError: `bad-path`.
    """
    parts = path.split("/")
    bad = (
        not path
        or len(path) > 255
        or any(part in ("", ".", "..") or part.startswith(".") for part in parts)
        or any(c in path for c in '\\:\0\n\r"')
    )
    if bad:
        raise ContractError("bad-path", f"The file name {path!r} is not a plain path inside the artifact.")
    return path
