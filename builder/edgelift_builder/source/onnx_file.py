"""An ONNX file, opened as hostile: checked, its inputs named, no path of its weights leaving its folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgelift_builder.exceptions import summarise
from edgelift_builder.source.file_model import FileModel, Port
from edgelift_builder.source.onnx_maps import has_maps, without_maps
from edgelift_contract.errors import ContractError

#: Operators of files that others have quantised.
_QUANTISED = {
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "QGemm", "QAttention",
    "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "MatMulNBits",
}  # fmt: skip


def open_onnx(path: Path, folder: Path, remarks: list[str]) -> FileModel:
    """The model in an ONNX file.

    Args:
        path: the file.
        folder: where a copy may be written that differs from it.
        remarks: for people, to be added to.

    Raises:
        ContractError: `source-invalid`, and what `external_files` raises.
    """
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
    if has_maps(proto):
        proto, said = without_maps(onnx.load(path))
        remarks += said
        for value in proto.graph.output:
            _check_tensor(path, value)
        path = folder / path.name
        onnx.save(proto, path)
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
    quantised = any(node.op_type in _QUANTISED or node.op_type.startswith("QLinear") for node in proto.graph.node)
    return FileModel(path, "onnx", ports, [_port(v) for v in proto.graph.output], vocabulary, quantised)


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
    shape = tuple(
        d.dim_value if d.dim_value > 0 else None for d in kind.shape.dim
    )  # some writers say -1 or 0 for free
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
