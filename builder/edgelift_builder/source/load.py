"""Runs the user's file and takes the source from it. In the child process, never in the builder's own.

`file.py:function` is imported under the file's own name, without its folder: what ends up in an artifact (as
TorchScript's class names) then doesn't depend on where the file lies. Everything the parent needs to know is
returned as `SourceFacts` and written as data sets beside each other.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import inspect
import random
import re
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edgelift_builder import data
from edgelift_builder.child import summarise
from edgelift_builder.measure import evaluate
from edgelift_builder.source import file_data
from edgelift_builder.source.given import Source
from edgelift_builder.source.model_file import FORMATS, is_model_file, open_model
from edgelift_builder.source.model_file import digest as model_digest
from edgelift_contract import codec
from edgelift_contract.errors import ContractError
from edgelift_contract.ids import check_name
from edgelift_contract.manifest import Format, TensorSpec

EVALUATION, CALIBRATION, LABELS, REFERENCE = "evaluation.npz", "calibration.npz", "labels.npz", "reference.npz"


@dataclass(frozen=True)
class SourceFacts:
    """What the parent knows of a source; the model itself stays in the child.

    Attributes:
        name, sha256: the model's name; digest of the source file.
        inputs, outputs: by name, axis 0 free (-1).
        samples, calibration_samples: how many there are.
        metric: what is measured, as `accuracy`.
        labelled, own_metric: are there labels; does the source bring its own metric.
        data_sha256: digest of evaluation inputs and labels.
        key: digest of everything that decides what the source is: its files, weights, data and answers.
        formats: what it can become; batch_free: does it take any number of samples at once.
        remarks: what a person should know, as that calibration uses the evaluation inputs.
    """

    name: str
    sha256: str
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    samples: int
    calibration_samples: int
    metric: str
    labelled: bool
    own_metric: bool
    data_sha256: str
    key: str = ""
    formats: tuple[Format, ...] = ("onnx", "tflite", "torchscript")
    batch_free: bool = True
    parameters: int = 0
    remarks: list[str] = field(default_factory=list)


#: The one source of this process, once `load_source` has run.
_current: list[Source] = []

#: What steps made of its model: handle → module.
_modules: dict[str, Any] = {}


def current() -> Source:
    """The source that this child process holds."""
    return _current[0]


def module(handle: str) -> Any:
    """The module a step left under `handle`; the source's own model for the empty one."""
    return _modules[handle] if handle else current().model


def keep_module(handle: str, made: Any) -> None:
    """Keep a step's module for the steps after it."""
    _modules[handle] = made


def split_source(text: str) -> tuple[Path, str]:
    """`(file, function)` of `file.py:function`, both known to exist as far as that shows without running it.

    Raises:
        ContractError: `source-missing` or `source-invalid`, naming what is near.
    """
    name, colon, function = text.rpartition(":")
    path = Path(name if colon else text)
    if is_model_file(Path(text)):
        path, function = Path(text), ""
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in _neighbours(path)], n=3)
        raise ContractError("source-missing", f"There is no file {path}.", hint=_near(near))
    if is_model_file(path):
        return path, function
    if path.suffix != ".py":
        raise ContractError(
            "source-invalid", f"{path.name} is not a Python file.", hint="Name a source as file.py:function."
        )
    if not colon:
        raise ContractError(
            "source-missing",
            f"{text} names no function.",
            hint=f"Write {text}:FUNCTION, the function that returns the Source.",
        )
    return path, function


def _neighbours(path: Path) -> list[Path]:
    return [p for p in path.parent.glob("*") if p.suffix == ".py" or is_model_file(p)]


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
    _seed()
    source, remarks, about = _from_function(path, function) if function else _from_file(path, data_text)
    _current[:] = [source]
    from edgelift_builder.source import probe  # needs torch, which a wrong name should not wait for

    return probe.survey(source, about, remarks, Path(folder))


def _from_function(path: Path, function: str) -> tuple[Source, list[str], dict[str, Any]]:
    source = _call(path, function)
    _check(source, f"{function} in {path.name}")
    return source, [], {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "code": _code_digest(path)}


def _from_file(path: Path, data_text: str) -> tuple[Source, list[str], dict[str, Any]]:
    model, ports = open_model(path)
    remarks: list[str] = []
    named, colon, function = data_text.rpartition(":")
    if data_text.endswith(".npz"):
        judges: Any = file_data.read_npz(Path(data_text), [port.name for port in ports])
    elif colon:
        judges = _call(Path(named), function)
    elif data_text:
        raise ContractError(
            "source-missing",
            f"{data_text} is neither an .npz file nor a function.",
            hint="Write FILE.py:FUNCTION.",
        )
    else:
        judges, remarks = file_data.random_data(model, ports, path.name)
    for label in ("evaluation_inputs", "evaluation_labels", "calibration_inputs", "metric", "metric_name"):
        if not hasattr(judges, label):
            raise ContractError(
                "source-invalid", f"{data_text} returned {type(judges).__name__}, not an edgelift_builder.Data."
            )
    samples = by_name(model, judges.evaluation_inputs, "evaluation inputs")
    source = Source(
        name=re.sub(r"[^a-z0-9_.-]+", "-", path.stem.lower()).strip("-._") or "model",
        model=model,
        example_inputs=data.sample(samples, 0, 1),
        evaluation_inputs=samples,
        evaluation_labels=judges.evaluation_labels,
        calibration_inputs=judges.calibration_inputs,
        metric=judges.metric,
        metric_name=judges.metric_name,
    )
    fixed = [port.shape[0] for port in ports if port.shape and port.shape[0] is not None]
    if any(n != 1 for n in fixed):
        raise ContractError(
            "shape-mismatch",
            f"{path.name} takes exactly {fixed[0]} samples at once; a device gives it one.",
            hint="Export it again with a batch of 1 or, better, with a free batch axis.",
        )
    about = {"sha256": model_digest(path), "formats": FORMATS[path.suffix], "batch_free": not fixed}
    return source, remarks, about


def _call(path: Path, function: str) -> Any:
    if not path.is_file():
        raise ContractError("source-missing", f"There is no file {path}.")
    module = _run_file(path)
    maker = getattr(module, function, None)
    if not callable(maker):
        names = [n for n, v in vars(module).items() if inspect.isfunction(v) and v.__module__ == module.__name__]
        near = difflib.get_close_matches(function, names, n=3) or [n for n in names if not n.startswith("_")]
        raise ContractError("source-missing", f"{path.name} has no function {function!r}.", hint=_near(near))
    try:
        return maker()
    except (Exception, SystemExit) as error:
        raise _raised(error, path, f"{function} in {path.name}") from error


def _code_digest(path: Path) -> str:
    """Digest of every file beside the source that it has imported: its training may live there."""
    home = path.resolve().parent
    named = [getattr(m, "__file__", None) for m in list(sys.modules.values())]
    # torch's made-up modules name files that are not there (`_classes.py`): only what can be read counts.
    files = {path for path in (Path(name).resolve() for name in named if name) if path.is_file()}
    mine = sorted(f for f in files if home in f.parents and f.suffix == ".py" and "site-packages" not in f.parts)
    return codec.digest("".join(f"{f.relative_to(home)} {codec.digest(f.read_bytes())}" for f in mine).encode())


def _seed() -> None:
    random.seed(0)
    np.random.seed(0)  # user code may draw from the old global generator
    try:
        import torch
    except ImportError as error:
        raise ContractError(
            "tool-missing", "torch is not installed.", hint="Install the builder: pip install 'edgelift[builder]'."
        ) from error
    torch.manual_seed(0)


def _run_file(path: Path) -> ModuleType:
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # its own neighbours, as `python file.py` would find them
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ContractError("source-invalid", f"{path.name} cannot be read as Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _raised(error, path, path.name) from error
    return module


def _raised(error: BaseException, path: Path, what: str) -> ContractError:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).name == path.name]
    if isinstance(error, SyntaxError):
        where = f" at line {error.lineno}"
    else:
        where = f" at line {frames[-1].lineno}: {frames[-1].line}" if frames else ""
    hint = f"It happened in {path.name}{where}. Run again with --debug for the whole traceback."
    return ContractError("source-raised", f"{what} raised {summarise(error)}.", hint=hint)


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
        raise ContractError(
            "source-invalid",
            f"The model of {what} is {kind}, not a torch.nn.Module.",
            hint="Build the module, load its state dict into it, and return that as the Source's model.",
        )
    check_name("model", source.name)
    for label in ("example_inputs", "evaluation_inputs"):
        value = getattr(source, label)
        if value is None or not len(value):
            raise ContractError(
                "source-invalid", f"The source of {what} has no {label}.", hint="See edgelift_builder.Source."
            )


def input_names(model: Any, count: int) -> list[str]:
    """Names of `forward`'s first `count` parameters; `input_0` … where it takes `*args`."""
    if hasattr(model, "input_names"):
        return list(model.input_names[:count])
    if type(model).__name__ == "RecursiveScriptModule":
        return [i.debugName().partition(".")[0] for i in model.graph.inputs()][1 : count + 1]
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in inspect.signature(model.forward).parameters.values() if p.kind in kinds]
    return (names + [f"input_{i}" for i in range(len(names), count)])[:count]


def by_name(model: Any, values: Any, what: str) -> data.DataSet:
    """A source's arrays as a data set, in the order of `forward`'s parameters.

    Raises:
        ContractError: `source-invalid` when lengths differ.
    """
    if isinstance(values, dict) and hasattr(model, "input_names"):
        values = {n: values[n] for n in model.input_names if n in values}
    if not isinstance(values, dict):
        listed = list(values) if isinstance(values, tuple | list) else [values]
        values = dict(zip(input_names(model, len(listed)), listed, strict=True))
    arrays = {n: np.asarray(v.detach().cpu() if hasattr(v, "detach") else v) for n, v in values.items()}
    lengths = {n: len(a) if a.ndim else 0 for n, a in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ContractError("source-invalid", f"The {what} differ in their number of samples: {lengths}.")
    return arrays


def _near(names: list[str]) -> str:
    return f"Did you mean {' or '.join(names)}?" if names else ""


def own_scores(outputs_file: str, folder: str) -> list[float]:
    """Scores by the source's own metric, one per sample.

    Raises:
        ContractError: `source-invalid` when it does not return one number from 0 to 1 for each sample.
    """
    labels = data.load(Path(folder) / LABELS)
    return [float(score) for score in _own_scores(data.load(Path(outputs_file)), labels)]


def scores_of(outputs: data.DataSet, labels: data.DataSet, reference: data.DataSet) -> evaluate.Scores:
    """Scores of `outputs` as the build will judge them: by the source's metric, else by `evaluate.score`."""
    if current().metric is not None:
        return _own_scores(outputs, labels)
    return evaluate.score(outputs, labels, reference)


def _own_scores(outputs: data.DataSet, labels: data.DataSet) -> evaluate.Scores:
    source = current()
    assert source.metric is not None
    scores = np.asarray(source.metric(outputs, labels.get("labels")), dtype=np.float64)
    n = data.length(outputs)
    if scores.shape != (n,) or not ((scores >= 0) & (scores <= 1)).all():
        raise ContractError(
            "source-invalid",
            f"The source's metric returned {scores.dtype.name}{list(scores.shape)} for {n} samples.",
            hint="It must return one score from 0 to 1 for each sample.",
        )
    return scores
