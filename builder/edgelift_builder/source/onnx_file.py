"""An ONNX file, opened as hostile: checked, its inputs named, no path of its weights leaving its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgelift_builder.exceptions import summarise
from edgelift_builder.source.file_model import FileModel, Port
from edgelift_builder.source.onnx_maps import without_maps
from edgelift_builder.source.onnx_quantised import is_quantised
from edgelift_builder.source.onnx_refusal import not_opened, too_new
from edgelift_builder.source.onnx_tidy import tidy
from edgelift_builder.source.onnx_walk import messages, nodes, opset_of
from edgelift_contract.errors import ContractError

#: Operators to which NaN is a value that is missing, not a fault of the data.
_TAKES_NAN = {"IsNaN", "Imputer", "TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble"}

#: Element types that requests may have.
_SERVED = {
    "FLOAT", "DOUBLE", "FLOAT16", "BOOL", "STRING", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64",
}  # fmt: skip

#: A changed copy keeps its weights inside up to this size, bytes; protobuf's limit for one file is 2 GB.
_INSIDE_BYTES = 1 << 30


def open_onnx(path: Path, folder: Path, remarks: list[str]) -> FileModel:
    """The model in an ONNX file.

    Args:
        path: the file.
        folder: where a copy may be written that differs from it.
        remarks: for people, to be added to.

    Raises:
        ContractError: `source-invalid`, `unsupported-operator`, `load-failed`, and what `external_files` raises.
    """
    import onnx

    try:
        proto = onnx.load(path, load_external_data=False)
        if proto.ir_version > onnx.IR_VERSION:
            raise too_new(path.name, f"IR version {proto.ir_version}")
        external_files(path)
        said = {entry.key: entry.value for entry in proto.metadata_props}
        proto, taken = without_maps(proto)
        proto, done = tidy(proto, path.resolve().parent)
        _check_ports(path, proto)
        opened = _changed(proto, path, folder) if done or taken else path
        onnx.checker.check_model(str(opened))
    except ContractError:
        raise
    except Exception as error:
        raise ContractError(
            "source-invalid", f"{path.name} is not a valid ONNX file: {summarise(error)}."
        ) from error
    _check_portable(path, proto)
    remarks += [words for words in (*done, *taken) if words]
    graph = proto.graph
    held = {t.name: t for t in graph.initializer}
    vocabulary = {
        node.input[1]: held[node.input[0]].dims[0]
        for node in graph.node
        if node.op_type == "Gather" and node.input[0] in held
    }
    model = FileModel(
        opened, "onnx", [_port(v) for v in graph.input], [_port(v) for v in graph.output], vocabulary,
        is_quantised(proto), takes_nan=any(node.op_type in _TAKES_NAN for node in nodes(proto)), called=path.name,
        metadata=said,
    )  # fmt: skip
    try:
        model.open()
    except ContractError as error:
        raise not_opened(path.name, error.__cause__ or error, opset_of(proto)) from error
    return model


def _changed(proto: Any, path: Path, folder: Path) -> Path:
    """A copy of a graph whose weights lie beside `path`, with the weights."""
    import onnx

    onnx.external_data_helper.load_external_data_for_model(proto, str(path.resolve().parent))
    size = sum(len(t.raw_data) for t in proto.graph.initializer)
    made = folder / "tidied.onnx"
    onnx.save(proto, made, save_as_external_data=size > _INSIDE_BYTES, location="tidied.weights")
    return made


def _check_portable(path: Path, proto: Any) -> None:
    """Refuse what onnxruntime has laid out for one kind of processor."""
    bound = next((node for node in nodes(proto) if node.domain == "com.microsoft.nchwc"), None)
    if bound is not None:
        raise ContractError(
            "source-invalid",
            f"onnxruntime has laid {path.name} out for the processor of the machine that wrote it (the operator "
            f"{bound.domain}.{bound.op_type}); others cannot be trusted to answer as that one does.",
            hint="Give the file from before that, or have it optimised at ORT_ENABLE_EXTENDED at most.",
        )


def _check_ports(path: Path, proto: Any) -> None:
    graph = proto.graph
    if not graph.input or not graph.output:
        what = "inputs" if not graph.input else "outputs"
        raise ContractError("source-invalid", f"{path.name} has no {what}: there is nothing to ask it.")
    for value in (*graph.input, *graph.output):
        if not value.type.HasField("tensor_type"):
            kind = (
                (value.type.WhichOneof("value") or "value without a type").removesuffix("_type").replace("_", " ")
            )
            raise ContractError(
                "source-invalid",
                f"{value.name} of {path.name} is not a tensor ({kind}), and a model is served by its tensors alone.",
                hint="Export it with tensors only.",
            )
        _check_type(path, value)
        if not value.type.tensor_type.HasField("shape"):
            raise ContractError(
                "source-invalid",
                f"{path.name} does not say how many axes {value.name} has, and nothing else tells.",
                hint="Export it with shapes; an axis of any length is a name in them.",
            )


def _check_type(path: Path, value: Any) -> None:
    """Refuse element types that no client can give, or be answered in: of 4 bits, float8, complex."""
    import onnx

    kind = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
    if kind not in _SERVED:
        raise ContractError(
            "source-invalid",
            f"{value.name} of {path.name} is of {kind.lower()}, which a request can neither give nor be answered in.",
            hint="Cast it inside the model, from or to float or whole numbers of 8 bits.",
        )


def _port(value: Any) -> Port:
    import onnx

    kind = value.type.tensor_type
    text = kind.elem_type == onnx.TensorProto.STRING
    dtype = "str" if text else onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    dims = kind.shape.dim
    shape = tuple(d.dim_value if d.dim_value > 0 else None for d in dims)  # some writers say -1 or 0 for free
    return Port(value.name, dtype, shape, tuple(d.dim_param for d in dims))


def external_files(path: Path) -> list[Path]:
    """The files beside an ONNX graph that hold its weights, in the order of their names.

    Raises:
        ContractError: `bad-path` when one is outside the graph's folder, `source-missing` when it is not there or
            shorter than the graph says.
    """
    import onnx

    home = path.resolve().parent
    found: set[Path] = set()
    for tensor in messages(onnx.load(path, load_external_data=False)):
        if tensor.DESCRIPTOR.name != "TensorProto":
            continue
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
