"""A shipped artifact opened by its runtime alone: nothing of edgelift's code, only the release folder's files."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, Any]

#: Inputs of one call by name → outputs by name.
Run = Callable[[Mapping[str, Any]], Arrays]


def shipped(release: Path) -> list[dict[str, Any]]:
    """The manifests of everything that ships, best first for each hardware class; each with its `artifact` id."""
    index = json.loads((release / "release.json").read_bytes())
    ids = [entry["id"] for entry in index["artifacts"]]
    return [{"artifact": i, **json.loads((release / "manifests" / i).read_bytes())} for i in ids]


def alone(release: Path, manifest: Mapping[str, Any], folder: Path) -> Run:
    """Lay an artifact's files out in `folder` under their names, and open it."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in manifest["files"]:
        shutil.copy(release / "blobs" / entry["sha256"], folder / entry["path"])
    model = next(str(folder / entry["path"]) for entry in manifest["files"] if entry["role"] == "model")
    if manifest["runtime"] == "litert":
        return _litert(model)
    return {"onnxruntime": _onnx, "torchscript": _torch}[manifest["runtime"]](model, manifest)


def _onnx(model: str, manifest: Mapping[str, Any]) -> Run:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # several would wait for each other on a busy machine
    for key, value in manifest.get("options", {}).get("entries", {}).items():
        options.add_session_config_entry(key, value)
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda call: dict(zip(names, session.run(None, dict(call)), strict=True))


def _litert(model: str) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=model, num_threads=1)
    runner = interpreter.get_signature_runner()
    kinds = {name: detail["dtype"] for name, detail in runner.get_input_details().items()}

    def run(call: Mapping[str, Any]) -> Arrays:
        # A TFLite file made of int64 tokens takes int32, as docs/artifact-format.md says.
        return dict(runner(**{n: a.astype(kinds[n]) if a.dtype.kind in "iu" else a for n, a in call.items()}))

    return run


def _torch(model: str, manifest: Mapping[str, Any]) -> Run:
    import torch

    torch.set_num_threads(1)
    module = torch.jit.load(model).eval()
    inputs, outputs = ([spec["name"] for spec in manifest[kind]] for kind in ("inputs", "outputs"))

    def run(call: Mapping[str, Any]) -> Arrays:
        with torch.no_grad():
            found = module(*(torch.from_numpy(np.ascontiguousarray(call[name])) for name in inputs))
        listed = found if isinstance(found, list | tuple) else [found]
        return {name: tensor.numpy() for name, tensor in zip(outputs, listed, strict=True)}

    return run


def ask(run: Run, samples: Mapping[str, Any], axes: Mapping[str, int] | None = None) -> Arrays:
    """Every sample by itself, as a device asks.

    Args:
        run: see `alone`.
        samples: arrays with the sample on axis 0, or for a name in `axes` on that axis.
        axes: as said, for inputs and outputs.

    Returns:
        Arrays of the same kind; lists of arrays where samples differ in shape.
    """
    axes = axes or {}
    count = next(np.shape(a)[axes.get(n, 0)] for n, a in samples.items())
    calls = ({n: np.take(a, [i], axis=axes.get(n, 0)) for n, a in samples.items()} for i in range(count))
    answers = [run(call) for call in calls]
    return {name: _joined([answer[name] for answer in answers], axes.get(name, 0)) for name in answers[0]}


def _joined(parts: list[Any], axis: int) -> Any:
    same = all(part.shape == parts[0].shape for part in parts) and parts[0].shape[axis : axis + 1] == (1,)
    return np.concatenate(parts, axis=axis) if same else parts
