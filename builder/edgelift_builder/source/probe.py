"""Tries the model before anything is made of it: on its example, then on every evaluation sample, each alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgelift_builder import calls, data, ragged
from edgelift_builder.case_data import read_case
from edgelift_builder.facts import CALIBRATION, EVALUATION, LABELS, REFERENCE, SourceFacts
from edgelift_builder.judge import telling
from edgelift_builder.judge.budgets import named
from edgelift_builder.judge.labelled import are_all_alike
from edgelift_builder.judge.panel import check_float
from edgelift_builder.source import held, held_out, meanings, own_metric, torch_quantised, trial
from edgelift_builder.source.file_model import FileModel, Port
from edgelift_builder.source.finite import check_numbers
from edgelift_builder.source.forward import forward
from edgelift_builder.source.given import Source
from edgelift_builder.source.labels import labels_of
from edgelift_builder.source.precision import autocast_met, leave_autocast_off, to_float32, to_processor
from edgelift_builder.source.samples import Samples, check_alike, take
from edgelift_contract import codec
from edgelift_contract.manifest import TensorSpec


def survey(
    source: Source, ports: Sequence[Port], about: dict[str, Any], remarks: list[str], folder: Path
) -> SourceFacts:
    """Run the float model on everything, write evaluation, calibration, label and reference data sets.

    Args:
        source: what the user gave.
        ports: inputs of a model file, as far as it tells.
        about: `sha256` of its file; `formats` where they are not the usual; whatever else decides what the source is.
        remarks: for people, to be added to.
        folder: receives the data sets.

    Raises:
        ContractError: `shape-mismatch`, `source-invalid` or `source-raised`.
    """
    task = telling.check_task(source.task)
    samples = _taken(source, ports, remarks)
    labels = labels_of(source, samples.evaluation)
    divided = held_out.divide(samples.evaluation, labels, samples.calibration, remarks)
    inputs, answers = _asked(source, ports, samples, divided.evaluation)
    inputs = meanings.told(inputs, source.inputs, samples.axes, "input")
    outputs = meanings.told(_outputs(answers, source.model), source.outputs, answers.axes, "output")
    for name, kept in (
        (EVALUATION, divided.evaluation), (CALIBRATION, divided.calibration), (LABELS, divided.labels),
        (REFERENCE, answers.reference),
    ):  # fmt: skip
        data.save(folder / name, kept)
    # What cannot be judged is told now, not after the making.
    judging = own_metric.judging(read_case(folder, task), task, held_out.original if divided.set_aside else int)
    scored = check_float(judging, answers.reference)
    remarks.extend(_alike(answers.reference) if not labels else ())
    judged = data.digest(divided.evaluation | {f"label {n}": a for n, a in divided.labels.items()})
    decides = [str(about), judged, data.digest(divided.calibration), data.digest(answers.reference)]
    first = judging.metrics[0].measure
    return SourceFacts(
        name=source.name,
        sha256=about["sha256"],
        key=codec.digest("\n".join([*decides, _weights_digest(source.model)]).encode()),
        formats=about.get("formats", ("onnx", "tflite", "torchscript")),
        batch_free=answers.batch_free,
        guessed=about.get("guessed", False),
        quantised=_quantised(source.model),
        inputs=inputs,
        outputs=outputs,
        axes=samples.axes | answers.axes,
        samples=data.length(divided.evaluation),
        calibration_samples=data.length(divided.calibration),
        set_aside=divided.set_aside,
        held_out=divided.held_out,
        task=task,
        told=judging.task,
        metric=first.name,
        unit=first.unit,
        metrics=tuple(named(judging.metrics)),
        judged=f"{judging.words} Float: {scored}.",
        own=first if source.metric is not None else None,
        data_sha256=judged,
        parameters=_parameters(source.model),
        metadata=meanings.metadata_of(source, remarks),
        remarks=remarks,
    )


def _alike(reference: data.DataSet) -> Iterator[str]:
    """What to say where nobody says what is right, and the model nothing else."""
    if are_all_alike(reference):
        yield (
            f"The float model answers all {data.length(reference)} evaluation samples alike: nothing shows whether an "
            "artifact tells them apart. Are the inputs scaled as in training, and the weights loaded?"
        )


def _taken(source: Source, ports: Sequence[Port], remarks: list[str]) -> Samples:
    """The source's samples, all of a kind that its model takes; the model in evaluation mode and float32."""
    to_processor(source.model, remarks)
    _put_into_evaluation_mode(source.model, remarks)
    leave_autocast_off()
    # The fast way of nn.TransformerEncoder answers 0 where padding is, and no export does.
    torch.backends.mha.set_fastpath_enabled(False)
    samples = take(source, ports, remarks, as_float32=to_float32(source.model, remarks))
    held.keep_example(samples.example, samples.axes)
    forward(source.model, samples.example, "example input")
    if autocast_met():
        remarks.append(
            f"The model turns torch.autocast on ({', '.join(autocast_met())}), which is left off: it computes in float32."
        )
    check_alike(samples, ports)
    if not getattr(source.model, "takes_nan", False):
        check_numbers(samples.evaluation, "Evaluation sample")
    return samples


def _put_into_evaluation_mode(model: Any, remarks: list[str]) -> None:
    """All of it: a part that training left behind would answer by its batch, and exporters take either mode for the whole.
    What `torch.export` made has no modes, and its `eval` only raises.
    """
    if isinstance(model, FileModel | torch.jit.ScriptModule) or hasattr(model, "_in_spec"):
        return
    training = [name for name, part in model.named_modules() if part.training]
    if not training:
        return
    model.eval()
    what = "The model was" if "" in training else f"A part of the model ({', '.join(training[:5])}) was"
    remarks.append(f"{what} in training mode and was put into evaluation mode.")


def _asked(
    source: Source, ports: Sequence[Port], samples: Samples, evaluation: data.DataSet
) -> tuple[list[TensorSpec], trial.Answers]:
    """The model's inputs, and what it says to each sample."""
    ask = partial(forward, source.model, what="evaluation input")
    answers = trial.ask_all(ask, evaluation, samples.axes, may_batch=samples.may_batch)
    inputs = _inputs(samples, ports, batch_free=answers.batch_free)
    free = {s.name: [k for k, n in enumerate(s.shape) if n == -1 and k != samples.axes[s.name]] for s in inputs}
    if any(free.values()):
        answers = replace(answers, shapes=trial.shapes_of_any_length(ask, samples.example, free, answers.shapes))
    return inputs, answers


def _inputs(samples: Samples, ports: Sequence[Port], *, batch_free: bool) -> list[TensorSpec]:
    """Shapes of a call: -1 where the file leaves an axis free, and for the samples where several are welcome."""
    free = {port.name: port.shape for port in ports}
    made = []
    for name, array in samples.example.items():
        shape = _freed(list(array.shape), free.get(name, _lengths(samples.evaluation[name], samples.axes[name])))
        made.append(
            TensorSpec(name, data.data_type(array), _counted(shape, samples.axes[name], batch_free=batch_free))
        )
    return made


def _lengths(column: data.Array, axis: int | None) -> list[int | None]:
    """Lengths of the axes of a call, None where samples differ."""
    one = calls.one({"": column}, 0, {"": axis})[""].shape
    if not ragged.is_ragged(column):
        return list(one)
    shapes = [calls.one({"": column}, k, {"": axis})[""].shape for k in range(len(column))]
    return [found[0] if len(set(found)) == 1 else None for found in zip(*shapes, strict=True)]


def _outputs(answers: trial.Answers, model: Any) -> list[TensorSpec]:
    free: Mapping[str, Any] = {port.name: port.shape for port in getattr(model, "answers", ())}
    made = []
    for name, shape in answers.shapes.items():
        known = free.get(name, shape)
        if len(known) == len(shape):
            shape = _freed(shape, known)
        one = answers.reference[name]
        counted = _counted(shape, answers.axes[name], batch_free=answers.batch_free)
        made.append(TensorSpec(name, data.data_type(calls.one({name: one}, 0, answers.axes)[name]), counted))
    return made


def _freed(shape: list[int], known: Sequence[int | None]) -> list[int]:
    return [-1 if free is None else length for length, free in zip(shape, known, strict=True)]


def _counted(shape: list[int], axis: int | None, *, batch_free: bool) -> list[int]:
    if axis is None:
        return shape
    return [*shape[:axis], -1 if batch_free else 1, *shape[axis + 1 :]]


def _quantised(model: Any) -> bool:
    return model.quantised if isinstance(model, FileModel) else torch_quantised.is_quantised(model)


def _weights_digest(model: Any) -> str:
    if isinstance(model, FileModel):
        return ""  # the file's own digest says it
    # Tensors of other packages, as torchao's, may have no bytes of their own; the answers tell them apart.
    held = {n: t.detach().to_dense().cpu() for n, t in model.state_dict().items() if type(t) is Tensor}
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
