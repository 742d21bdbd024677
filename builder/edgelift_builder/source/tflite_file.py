"""A TFLite file: its inputs and outputs as its one signature names them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from edgelift_builder.exceptions import summarise
from edgelift_builder.source.file_model import FileModel, Port
from edgelift_contract.errors import ContractError


def open_tflite(path: Path) -> FileModel:
    """The model in a TFLite file.

    Raises:
        ContractError: `source-invalid` or `unsupported-operator`.
    """
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
    ports = [_port(name, described) for name, described in runner.get_input_details().items()]
    answers = [_port(name, described) for name, described in runner.get_output_details().items()]
    quantised = any(
        t["dtype"] is np.int8 and t["quantization_parameters"]["scales"].size for t in _tensors(interpreter)
    )
    return FileModel(path, "tflite", ports, answers, quantised=quantised)


def _tensors(interpreter: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = interpreter.get_tensor_details()
    return found


def _port(name: str, described: dict[str, Any]) -> Port:
    return Port(name, described["dtype"].__name__, tuple(int(n) for n in described["shape"]))
