"""Takes the source from the user's file or a model file. In the child process, never in the builder's own.

Everything the parent needs to know is returned as `SourceFacts` and written as data sets beside each other.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from edgelift_builder.facts import SourceFacts
from edgelift_builder.source import drawn, file_data, held
from edgelift_builder.source.file_model import Port
from edgelift_builder.source.given import Data, Source
from edgelift_builder.source.model_file import FORMATS, open_model
from edgelift_builder.source.model_file import digest as model_digest
from edgelift_builder.source.named import check_data
from edgelift_builder.source.user_code import call, code_digest, seed
from edgelift_builder.source.wrapped import is_script, unwrapped
from edgelift_contract.errors import ContractError
from edgelift_contract.ids import check_name


def load_source(file: str, function: str, data_text: str, folder: str) -> SourceFacts:
    """Run the user's function, or open the model file; check it, and write its data sets into `folder`.

    Args:
        file: the source's.
        function: in it; empty for a model file.
        data_text: what judges a model file, see `file_data`; empty for none.
        folder: receives the data sets.

    Raises:
        ContractError: `source-missing`, `source-raised` or `source-invalid`; and what `model_file` raises.
    """
    path = Path(file)
    check_data("" if function else data_text)
    seed()
    remarks: list[str] = []
    source, ports, about = (
        _from_function(path, function, remarks) if function else _from_file(path, data_text, Path(folder), remarks)
    )
    held.hold(source)
    from edgelift_builder.source import probe  # imports torch, which the parent never does

    return probe.survey(source, ports, about, remarks, Path(folder))


def _from_function(path: Path, function: str, remarks: list[str]) -> tuple[Source, list[Port], dict[str, Any]]:
    source = call(path, function)
    _check(source, f"{function} in {path.name}")
    source.model = unwrapped(source.model)
    from edgelift_builder.source import apart  # imports torch, which the parent never does

    source = apart.taken_apart(source, remarks)
    about = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "code": code_digest(path)}
    return source, [], about | ({"formats": FORMATS[".pt"]} if is_script(source.model) else {})


def _from_file(
    path: Path, data_text: str, folder: Path, remarks: list[str]
) -> tuple[Source, list[Port], dict[str, Any]]:
    model, ports = open_model(path, folder, remarks)
    named, _, function = data_text.rpartition(":")
    if data_text.endswith(".npz"):
        judges: Any = file_data.read_npz(Path(data_text), [port.name for port in ports])
    elif data_text:
        judges = call(Path(named), function)
    else:
        judges, said = drawn.draw(model, ports, path.name)
        remarks += said
    for field in fields(Data):
        if not hasattr(judges, field.name):
            raise ContractError(
                "source-invalid", f"{data_text} returned {type(judges).__name__}, not an edgelift_builder.Data."
            )
    source = Source(
        name=re.sub(r"[^a-z0-9_.-]+", "-", path.stem.lower()).strip("-._") or "model",
        model=model,
        example_inputs=None,
        evaluation_inputs=judges.evaluation_inputs,
        evaluation_labels=judges.evaluation_labels,
        calibration_inputs=judges.calibration_inputs,
        metric=judges.metric,
        metric_name=judges.metric_name,
        metric_better=judges.metric_better,
        task=judges.task,
        inputs=judges.inputs,
        outputs=judges.outputs,
        metadata=judges.metadata,
    )
    about = {"sha256": model_digest(path), "formats": FORMATS[path.suffix], "guessed": not data_text}
    return source, ports, about


def _check(source: Any, what: str) -> None:
    if not isinstance(source, Source):
        kind = type(source).__name__
        if isinstance(source, dict) and source and all(hasattr(v, "dtype") for v in source.values()):
            kind = "a state dict: weights without the model they belong to"
        raise ContractError(
            "source-invalid",
            f"{what} returned {kind}, not a Source.",
            hint="Return edgelift_builder.Source(name, model, example_inputs, evaluation_inputs, …).",
        )
    import torch

    if not isinstance(source.model, torch.nn.Module):
        kind = "a state dict" if isinstance(source.model, dict) else type(source.model).__name__
        if hasattr(source.model, "module") and hasattr(source.model, "graph_signature"):
            raise ContractError(
                "source-invalid",
                f"The model of {what} is {kind}, not a torch.nn.Module.",
                hint="Return its module: program.module().",
            )
        raise ContractError(
            "source-invalid",
            f"The model of {what} is {kind}, not a torch.nn.Module.",
            hint="Build the module, load its state dict into it, and return that as the Source's model.",
        )
    check_name("model", source.name)
    for label in ("example_inputs", "evaluation_inputs"):
        value = getattr(source, label)
        if value is not None and not hasattr(value, "__len__"):
            raise ContractError(
                "source-invalid",
                f"The {label} of {what} are a {type(value).__name__}, not arrays.",
                hint="Put what it yields into arrays first, as numpy.stack does.",
            )
        if value is None or not len(value):
            raise ContractError(
                "source-invalid", f"The source of {what} has no {label}.", hint="See edgelift_builder.Source."
            )
