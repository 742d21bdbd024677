"""A TFLite file: its inputs and outputs as its one signature names them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from edgelift_builder.exceptions import summarise
from edgelift_builder.source import tflite_graph
from edgelift_builder.source.file_model import FileModel, Port
from edgelift_contract.errors import ContractError

#: How LiteRT names an operator that it lacks: at its node, as a custom one, or by its code.
_OPERATOR = re.compile(r"Node number \d+ \((\w[^)]*)\) failed|custom op: (\w+)|builtin opcode '(\w+)'")


def open_tflite(path: Path, folder: Path, remarks: list[str]) -> FileModel:
    """The model in a TFLite file.

    Args:
        path: the file.
        folder: where a copy may be written that differs from it, see `tflite_graph.mend`.
        remarks: for people, to be added to.

    Raises:
        ContractError: `source-invalid` or `unsupported-operator`.
    """
    with path.open("rb") as file:
        if file.read(8)[4:] != b"TFL3":
            raise ContractError("source-invalid", f"{path.name} is not a TFLite file.")
    _load(path, path.name)
    mended, content = tflite_graph.mend(path, folder, remarks)
    _check_ends(content.subgraphs[0], path.name)
    interpreter = _load(mended, path.name)
    runner = interpreter.get_signature_runner(next(iter(interpreter.get_signature_list())))
    # LiteRT lists names by the alphabet; what a file has first is what its model is for.
    inputs, outputs = tflite_graph.names(content)
    ports = [_port(name, runner.get_input_details()[name], path) for name in inputs]
    answers = [_port(name, runner.get_output_details()[name], path) for name in outputs]
    return FileModel(
        mended, "tflite", ports, answers, quantised=tflite_graph.is_quantised(content), called=path.name
    )


def _load(path: Path, name: str) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=str(path))
        # Free axes have a length of 1 until a call says more, which a window may be too large for.
        if all((detail["shape_signature"] >= 0).all() for detail in interpreter.get_input_details()):
            interpreter.allocate_tensors()
    except Exception as error:
        if "valid Flatbuffer" in str(error):
            raise ContractError(
                "source-invalid", f"{name} is cut short, or otherwise no whole TFLite file."
            ) from error
        found = _OPERATOR.search(str(error))
        what = f"it lacks the operator {next(filter(None, found.groups()))}" if found else summarise(error)
        raise ContractError(
            "unsupported-operator",
            f"LiteRT cannot load {name}: {what}.",
            hint="Convert the model with operators that LiteRT has built in.",
        ) from error
    return interpreter


def _port(name: str, described: dict[str, Any], path: Path) -> Port:
    known = described["shape_signature"] if described["shape_signature"].size else described["shape"]
    kind = np.dtype(described["dtype"])
    if kind.kind not in "biuf":
        raise ContractError(
            "source-invalid",
            f"{name} of {path.name} is {'text' if kind.kind in 'SUO' else kind.name}, which LiteRT is not given here.",
            hint="Convert the model with numbers at its ends: what looks words up stays with the client.",
        )
    return Port(name, kind.name, tuple(int(n) if n >= 0 else None for n in known))


def _check_ends(graph: Any, name: str) -> None:
    for ends, what in ((graph.inputs, "inputs"), (graph.outputs, "outputs")):
        if ends is None or not len(ends):
            raise ContractError("source-invalid", f"{name} has no {what}: there is nothing to ask it.")
