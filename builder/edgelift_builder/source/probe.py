"""Tries the model on its example inputs before anything is made of it, and says in words what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgelift_builder import data
from edgelift_builder.facts import CALIBRATION, EVALUATION, LABELS, REFERENCE, SourceFacts
from edgelift_builder.measure import evaluate
from edgelift_builder.source.file_model import FileModel
from edgelift_builder.source.forward import BATCH, forward, run_all
from edgelift_builder.source.given import Source
from edgelift_builder.source.inputs import by_name
from edgelift_contract import codec
from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import TensorSpec


def survey(source: Source, about: dict[str, Any], remarks: list[str], folder: Path) -> SourceFacts:
    """Run the float model on everything, write evaluation, calibration, label and reference data sets.

    Args:
        source: what the user gave.
        about: `sha256` of its file; `formats` and `batch_free` where they are not the usual; whatever else decides
            what the source is.
        remarks: for people, to be added to.
        folder: receives the data sets.

    Raises:
        ContractError: `shape-mismatch`, `source-invalid` or `source-raised`.
    """
    if source.model.training and not isinstance(source.model, torch.jit.ScriptModule):
        source.model.eval()
        remarks.append("The model was in training mode and was put into evaluation mode.")
    example = by_name(source.model, source.example_inputs, "example inputs")
    outputs = forward(source.model, example, "example input")
    evaluation, calibration = _inputs(source, example, remarks)
    labels = _labels(source, evaluation)
    reference = run_all(source.model, evaluation, BATCH if about.get("batch_free", True) else 1)
    if source.metric is None:
        evaluate.score(
            reference, labels, reference
        )  # labels that cannot be scored are told now, not after the making
    for name, held in (
        (EVALUATION, evaluation), (CALIBRATION, calibration), (LABELS, labels), (REFERENCE, reference),
    ):  # fmt: skip
        data.save(folder / name, held)
    labelled = bool(labels)
    judged = data.digest(evaluation | {f"label {n}": a for n, a in labels.items()})
    decides = [str(about), judged, data.digest(calibration), data.digest(reference), _weights_digest(source.model)]
    return SourceFacts(
        name=source.name,
        sha256=about["sha256"],
        key=codec.digest("\n".join(decides).encode()),
        formats=about.get("formats", ("onnx", "tflite", "torchscript")),
        batch_free=about.get("batch_free", True),
        inputs=[_spec(n, a) for n, a in example.items()],
        outputs=[_spec(n, a) for n, a in outputs.items()],
        samples=data.length(evaluation),
        calibration_samples=data.length(calibration),
        metric=_metric_name(source, labelled),
        labelled=labelled,
        own_metric=source.metric is not None,
        data_sha256=judged,
        parameters=_parameters(source.model),
        remarks=remarks,
    )


def _inputs(source: Source, example: data.DataSet, remarks: list[str]) -> tuple[data.DataSet, data.DataSet]:
    """Evaluation and calibration inputs, both of the example's form."""
    evaluation = by_name(source.model, source.evaluation_inputs, "evaluation inputs")
    _same_form(example, evaluation, "evaluation")
    if source.calibration_inputs is None:
        remarks.append("There are no calibration inputs: the first evaluation inputs stand in for them.")
        return evaluation, data.sample(evaluation, 0, 200)
    calibration = by_name(source.model, source.calibration_inputs, "calibration inputs")
    _same_form(example, calibration, "calibration")
    return evaluation, calibration


def _weights_digest(model: Any) -> str:
    if isinstance(model, FileModel):
        return ""  # the file's own digest says it
    held = {n: t.detach().cpu() for n, t in model.state_dict().items() if isinstance(t, Tensor)}
    plain = {
        n: (t if t.dtype != torch.bfloat16 else t.float()).numpy() for n, t in held.items() if not t.is_quantized
    }
    return data.digest(plain)


def _parameters(model: Any) -> int:
    if not isinstance(model, FileModel):
        return sum(p.numel() for p in model.parameters())
    if model.format == "tflite":
        return 0  # a TFLite file does not tell weights from other constants
    import onnx

    proto = onnx.load(model.path, load_external_data=False)
    return sum(int(np.prod(t.dims)) for t in proto.graph.initializer)


def _same_form(example: data.DataSet, found: data.DataSet, what: str) -> None:
    for name, array in example.items():
        other = found.get(name)
        if other is None:
            raise ContractError("source-invalid", f"The {what} inputs have no {name!r}, the example inputs do.")
        if data.kind_name(other) != data.kind_name(array) or other.shape[1:] != array.shape[1:]:
            raise ContractError(
                "shape-mismatch",
                f"The {what} input {name} is {data.kind_name(other)}{list(other.shape[1:])} per sample; "
                f"the example input is {data.kind_name(array)}{list(array.shape[1:])}.",
                hint="Give both the same element type and shape.",
            )


def _labels(source: Source, evaluation: data.DataSet) -> data.DataSet:
    labels = source.evaluation_labels
    if labels is None:
        return {}
    array = data.plain(labels.detach().cpu() if hasattr(labels, "detach") else labels)
    if len(array) != data.length(evaluation):
        raise ContractError(
            "source-invalid",
            f"There are {len(array)} evaluation labels for {data.length(evaluation)} evaluation inputs.",
        )
    return {"labels": array}


def _metric_name(source: Source, labelled: bool) -> str:
    if source.metric is not None:
        return source.metric_name or "score"
    return "accuracy" if labelled else "agreement"


def _spec(name: str, array: data.Array) -> TensorSpec:
    return TensorSpec(name, data.data_type(array), [-1, *array.shape[1:]])
