"""A TFLite file: its inputs and outputs as its one signature names them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgelift_builder.exceptions import summarise
from edgelift_builder.source import tflite_graph
from edgelift_builder.source.file_model import FileModel, Port
from edgelift_contract.errors import ContractError


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
    interpreter = _load(mended, path.name)
    runner = interpreter.get_signature_runner(next(iter(interpreter.get_signature_list())))
    # LiteRT lists names by the alphabet; what a file has first is what its model is for.
    inputs, outputs = tflite_graph.names(content)
    ports = [_port(name, runner.get_input_details()[name]) for name in inputs]
    answers = [_port(name, runner.get_output_details()[name]) for name in outputs]
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
        operator = re.search(r"(?:op|operator|custom op)[^:]*: '?([\w.:]+)", str(error))
        what = f"the operator {operator[1]}" if operator else summarise(error)
        raise ContractError(
            "unsupported-operator",
            f"LiteRT cannot load {name}: {what}.",
            hint="Convert the model with operators that LiteRT has built in.",
        ) from error
    return interpreter


def _port(name: str, described: dict[str, Any]) -> Port:
    known = described["shape_signature"] if described["shape_signature"].size else described["shape"]
    return Port(name, described["dtype"].__name__, tuple(int(n) if n >= 0 else None for n in known))
