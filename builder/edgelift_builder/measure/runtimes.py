"""The real runtimes, each behind the same call: arrays by name in, arrays by name out.

The device's agent sets its runtimes up from the same `SessionOptions` in the same way; docs/artifact-format.md
says how each option is to be read. Used in child processes: a runtime may crash on a bad model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from edgelift_builder import data
from edgelift_builder.calls import Axes
from edgelift_builder.data import DataSet
from edgelift_builder.exceptions import summarise
from edgelift_builder.measure.litert import LitertSession
from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import DataType, Format, RuntimeName, SessionOptions

RUNTIMES: dict[Format, RuntimeName] = {"onnx": "onnxruntime", "tflite": "litert", "torchscript": "torchscript"}
PACKAGES: dict[RuntimeName, str] = {
    "onnxruntime": "onnxruntime",
    "litert": "ai-edge-litert",
    "torchscript": "torch",
}


@dataclass(frozen=True)
class ModelSpec:
    """A model to open.

    Attributes:
        runtime, path, options: by whom, from where, and how.
        inputs, outputs: names, in the manifest's order.
        batch_free: does it take more than one sample at once.
        axes: the sample axis of each input and output in a call, see `calls`.
        int8: was it quantised; half: is it in float16.
        kinds: element types of the outputs as the source has them; TFLite may have whole numbers in another width.
    """

    runtime: RuntimeName
    path: Path
    options: SessionOptions
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    batch_free: bool
    int8: bool = False
    half: bool = False
    axes: Axes = field(default_factory=dict)
    kinds: Mapping[str, DataType] = field(default_factory=dict)


class Session(Protocol):
    """A loaded model."""

    def run(self, inputs: DataSet) -> DataSet:
        """Outputs for one call, by name."""


def version(runtime: RuntimeName) -> str:
    """Version of the runtime's package, without a local part: `2.13.0`, not `2.13.0+cpu`.

    Raises:
        ContractError: `tool-missing`.
    """
    try:
        return metadata.version(PACKAGES[runtime]).partition("+")[0]
    except metadata.PackageNotFoundError as error:
        raise ContractError(
            "tool-missing",
            f"{PACKAGES[runtime]} is not installed.",
            hint="Install edgelift's wheel with the extra [builder].",
        ) from error


def open_session(spec: ModelSpec, *, other_kernels: bool = False) -> Session:
    """Load a model.

    Args:
        spec: which one.
        other_kernels: choose kernels that compute the same another way, to see how far results may lie apart:
            onnxruntime without graph optimisation, LiteRT without XNNPACK, torch with another int8 engine.

    Raises:
        ContractError: `load-failed`, in the runtime's words.
    """
    openers: dict[RuntimeName, Callable[[ModelSpec, bool], Session]] = {
        "onnxruntime": _Onnx,
        "litert": _litert,
        "torchscript": _Torch,
    }
    try:
        return openers[spec.runtime](spec, other_kernels)
    except Exception as error:
        raise ContractError(
            "load-failed", f"{spec.runtime} could not load the artifact again: {summarise(error)}."
        ) from error


class _Onnx:
    def __init__(self, spec: ModelSpec, other: bool) -> None:
        import onnxruntime as ort

        options = session_options(spec.options)
        if other:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = ort.InferenceSession(str(spec.path), options, providers=["CPUExecutionProvider"])
        self._outputs = list(spec.outputs)

    def run(self, inputs: DataSet) -> DataSet:
        found = self._session.run(self._outputs, inputs)  # text comes back as objects
        return {name: data.plain(array) for name, array in zip(self._outputs, found, strict=True)}


def session_options(wanted: SessionOptions) -> Any:
    """The contract's session options in onnxruntime's form."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = wanted.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = wanted.arena
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, _LEVELS[wanted.optimisation])
    entries = {"session.intra_op.allow_spinning": "1" if wanted.spinning else "0"}
    if not wanted.prepacking:
        entries["session.disable_prepacking"] = "1"
    for key, value in (entries | wanted.entries).items():
        options.add_session_config_entry(key, value)
    return options


_LEVELS = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}


def _litert(spec: ModelSpec, other: bool) -> Session:
    return LitertSession(spec.path, spec.options.threads, spec.outputs, spec.kinds, other_kernels=other)


class _Torch:
    def __init__(self, spec: ModelSpec, other: bool) -> None:
        import torch

        self._torch = torch
        self._threads = spec.options.threads
        engines = torch.backends.quantized.supported_engines
        self._engine = "qnnpack" if other and "qnnpack" in engines else torch.backends.quantized.engine
        self._usual = torch.backends.quantized.engine
        with self._set_up():
            self._model: Any = torch.jit.load(str(spec.path), map_location="cpu").eval()
        self._inputs, self._outputs = spec.inputs, spec.outputs

    def run(self, inputs: DataSet) -> DataSet:
        with self._set_up(), self._torch.no_grad():
            # A model may write into what it is given: samples stay as they are.
            result = self._model(*(self._torch.from_numpy(inputs[name].copy()) for name in self._inputs))
        listed = result if isinstance(result, list | tuple) else [result]
        return {name: tensor.numpy(force=True) for name, tensor in zip(self._outputs, listed, strict=True)}

    def _set_up(self) -> _TorchSettings:
        return _TorchSettings(self._torch, self._threads, self._engine, self._usual)


class _TorchSettings:
    """Threads and the int8 engine are torch's globals: set for a call, then put back."""

    def __init__(self, torch: Any, threads: int, engine: str, usual: str) -> None:
        self._torch, self._threads, self._engine, self._usual = torch, threads, engine, usual

    def __enter__(self) -> None:
        if self._threads and self._torch.get_num_threads() != self._threads:
            self._torch.set_num_threads(self._threads)
        if self._engine != self._usual:
            self._torch.backends.quantized.engine = self._engine

    def __exit__(self, *_: object) -> None:
        if self._engine != self._usual:
            self._torch.backends.quantized.engine = self._usual
