"""Models that come as files: ONNX (also with external data), TFLite, TorchScript, `torch.export` archives.

A file brings no data and no training; `--data` names them (see `file_data`). What torch can open becomes a module
like any other; ONNX and TFLite stay files and are run by their runtimes, so that the reference is the model's
own answer and not a translation's.

Everything here treats the file as hostile: nothing in it is run as Python, no path in it leaves its folder.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgelift_builder.child import summarise
from edgelift_builder.data import DataSet
from edgelift_builder.measure.runtimes import ModelSpec, Session, open_session
from edgelift_builder.source import safe_torch
from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import Format, RuntimeName, SessionOptions

SUFFIXES = (".onnx", ".tflite", ".pt2", ".pt", ".pth", ".ckpt", ".safetensors", ".bin")

#: Weights alone, whatever is in them.
_ONLY_WEIGHTS = (".safetensors", ".bin", ".ckpt")

#: What each kind of file can become; what is not listed has no converter that could be trusted with it.
FORMATS: dict[str, tuple[Format, ...]] = {
    ".onnx": ("onnx",),
    ".tflite": ("tflite",),
    ".pt2": ("onnx", "tflite"),
    ".pt": ("torchscript",),
}


@dataclass(frozen=True)
class Port:
    """An input of a model in a file: its name, its type as `data.kind_name` has it, its shape with None where it is free."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass
class FileModel:
    """A model that its own runtime answers for, in place of a torch module.

    Attributes:
        path, format: what it is.
        ports: its inputs; empty where the file does not say.
        outputs: their names.
        vocabulary: input → number of rows in the table that it is an index into, where the graph shows it.
    """

    path: Path
    format: Format
    ports: list[Port]
    outputs: list[str]
    vocabulary: dict[str, int] = field(default_factory=dict)
    training: bool = False
    _session: Session | None = None

    @property
    def input_names(self) -> list[str]:
        """Names in the file's order."""
        return [port.name for port in self.ports]

    @property
    def batch_free(self) -> bool:
        """Does every input take any number of samples."""
        return all(port.shape and port.shape[0] is None for port in self.ports)

    def run(self, inputs: DataSet) -> DataSet:
        """Outputs by name, through the model's own runtime; weights stay mapped from the file.

        Raises:
            ContractError: `load-failed`.
        """
        if self._session is None:
            runtime: RuntimeName = "onnxruntime" if self.format == "onnx" else "litert"
            options = SessionOptions(threads=1, prepacking=False, arena=False)
            names = tuple(self.input_names), tuple(self.outputs)
            self._session = open_session(ModelSpec(runtime, self.path, options, *names, self.batch_free))
        return {name: array.copy() for name, array in self._session.run(inputs).items()}


def is_model_file(path: Path) -> bool:
    """Is this the name of a model rather than of code."""
    return path.suffix in SUFFIXES


def open_model(path: Path) -> tuple[Any, list[Port]]:
    """The model in a file, and its inputs as far as the file tells.

    Returns:
        A torch module in evaluation mode, or a `FileModel`.

    Raises:
        ContractError: `source-invalid`, `unsafe-file`, `bad-path`, `unsupported-operator` or `load-failed`.
    """
    if path.suffix in _ONLY_WEIGHTS:
        raise safe_torch.weights_alone(path)
    if path.suffix == ".onnx":
        model = _open_onnx(path)
        return model, model.ports
    if path.suffix == ".tflite":
        model = _open_tflite(path)
        return model, model.ports
    return _open_program(path) if path.suffix == ".pt2" else (_open_script(path), [])


def digest(path: Path) -> str:
    """SHA-256 over a model file and, for ONNX, the files beside it that hold its weights."""
    sha = hashlib.sha256()
    for part in (path, *(external_files(path) if path.suffix == ".onnx" else ())):
        with part.open("rb") as file:
            while block := file.read(1 << 20):
                sha.update(block)
    return sha.hexdigest()


def _open_onnx(path: Path) -> FileModel:
    import onnx

    try:
        proto = onnx.load(path, load_external_data=False)
        external_files(path)
        onnx.checker.check_model(str(path))
    except ContractError:
        raise
    except Exception as error:
        raise ContractError(
            "source-invalid", f"{path.name} is not a valid ONNX file: {summarise(error)}."
        ) from error
    held = {t.name: t for t in proto.graph.initializer}
    given = [v for v in proto.graph.input if v.name not in held]
    for value in (*given, *proto.graph.output):
        _check_tensor(path, value)
    ports = [_port(v) for v in given]
    vocabulary = {
        node.input[1]: held[node.input[0]].dims[0]
        for node in proto.graph.node
        if node.op_type == "Gather" and node.input[0] in held
    }
    return FileModel(path, "onnx", ports, [v.name for v in proto.graph.output], vocabulary)


def _check_tensor(path: Path, value: Any) -> None:
    if not value.type.HasField("tensor_type"):
        raise ContractError(
            "source-invalid",
            f"{value.name} of {path.name} is a {value.type.WhichOneof('value').removesuffix('_type')}; a model is served "
            "by its tensors alone.",
            hint="Export it with tensors only: for a classifier of scikit-learn with the option zipmap=False.",
        )


def _port(value: Any) -> Port:
    import onnx

    kind = value.type.tensor_type
    text = kind.elem_type == onnx.TensorProto.STRING
    dtype = "str" if text else onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
    return Port(value.name, dtype, shape)


def external_files(path: Path) -> list[Path]:
    """The files beside an ONNX graph that hold its weights, in the order of their names.

    Raises:
        ContractError: `bad-path` when one is outside the graph's folder, `source-missing` when it is not there or
            shorter than the graph says.
    """
    import onnx

    home = path.resolve().parent
    found: set[Path] = set()
    for tensor in _tensors(onnx.load(path, load_external_data=False)):
        entries = {e.key: e.value for e in tensor.external_data}
        if tensor.data_location != onnx.TensorProto.EXTERNAL or not entries:
            continue
        weights = (home / entries.get("location", "")).resolve()
        if Path(entries.get("location", "/")).is_absolute() or home not in weights.parents:
            raise ContractError(
                "bad-path",
                f"{path.name} names {entries.get('location')!r} for the weights {tensor.name}, outside its folder.",
                hint="Save the model again with its weights beside it.",
            )
        end = int(entries.get("offset", 0)) + int(entries.get("length", 0))
        if not weights.is_file() or weights.stat().st_size < end:
            raise ContractError(
                "source-missing",
                f"{path.name} keeps the weights {tensor.name} in {entries['location']}, which is "
                + ("shorter than that." if weights.is_file() else "not there."),
                hint="Copy all files of the model into one folder.",
            )
        found.add(weights)
    return sorted(found)


def _tensors(message: Any) -> Iterator[Any]:
    """Every TensorProto in a model, sub-graphs included."""
    for described, value in message.ListFields():
        if described.message_type is None:
            continue
        for part in value if not hasattr(value, "ListFields") else (value,):
            if described.message_type.name == "TensorProto":
                yield part
            else:
                yield from _tensors(part)


def _open_tflite(path: Path) -> FileModel:
    from ai_edge_litert.interpreter import Interpreter

    if path.read_bytes()[4:8] != b"TFL3":
        raise ContractError("source-invalid", f"{path.name} is not a TFLite file.")
    try:
        interpreter = Interpreter(model_path=str(path))
        interpreter.allocate_tensors()
    except Exception as error:
        operator = re.search(r"(?:op|operator|custom op)[^:]*: '?([\w.:]+)", str(error))
        what = f"the operator {operator[1]}" if operator else summarise(error)
        raise ContractError(
            "unsupported-operator",
            f"LiteRT cannot load {path.name}: {what}.",
            hint="Convert the model with operators that LiteRT has built in.",
        ) from error
    if len(interpreter.get_signature_list()) != 1:
        raise ContractError(
            "source-invalid",
            f"{path.name} has {len(interpreter.get_signature_list())} signatures; one is needed to name its inputs.",
            hint="Convert it again with a single signature.",
        )
    runner = interpreter.get_signature_runner(next(iter(interpreter.get_signature_list())))
    ports = [
        Port(name, described["dtype"].__name__, tuple(int(n) for n in described["shape"]))
        for name, described in runner.get_input_details().items()
    ]
    return FileModel(path, "tflite", ports, list(runner.get_output_details()))


def _open_program(path: Path) -> tuple[Any, list[Port]]:
    import torch

    safe_torch.check_program(path)
    try:
        program = torch.export.load(path)
    except Exception as error:
        raise ContractError(
            "source-invalid", f"torch.export cannot read {path.name}: {summarise(error)}."
        ) from error
    named = dict(zip(program.graph_signature.user_inputs, _placeholders(program), strict=False))
    ports = [
        Port(
            name,
            str(value.dtype).removeprefix("torch."),
            tuple(n if isinstance(n, int) else None for n in value.shape),
        )
        for name, value in named.items()
    ]
    module = program.module(check_guards=False)
    module.training = False  # dropout and the like were fixed when it was exported; its eval() only raises
    return module, ports


def _placeholders(program: Any) -> list[Any]:
    wanted = set(program.graph_signature.user_inputs)
    return [n.meta["val"] for n in program.graph.nodes if n.op == "placeholder" and n.name in wanted]


def _open_script(path: Path) -> Any:
    import torch

    safe_torch.kind_of(path)
    try:
        return torch.jit.load(str(path), map_location="cpu").eval()
    except Exception as error:
        raise ContractError(
            "source-invalid", f"{path.name} is not a TorchScript model: {summarise(error)}."
        ) from error
