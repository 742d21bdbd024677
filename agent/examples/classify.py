"""A client that knows nothing of the model but what its metadata says: inputs scaled as told, answers by their names.

    python agent/examples/classify.py http://localhost:8080 digits picture.npy --top 3

`picture.npy` holds one sample in real units (pixels from 0 to 255, degrees), in the shape of a call without its sample
axis, or with it. Needs numpy and requests; tokens, spectrograms and thresholds remain a client's own work.
"""

import argparse
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import requests

TYPES = {"FP16": "float16", "FP32": "float32", "FP64": "float64", "BOOL": "bool"}  # others: int8 for INT8 …


def numbers(text: Any, shape: list[int], axis: int | None) -> np.ndarray:
    """`scale` or `offset`: a number, or as text one for each place along the axis, laid out for a tensor."""
    found = np.array(str(text).split(), dtype=np.float64)
    if found.size == 1 or axis is None:
        return found
    return found.reshape([-1 if k == axis else 1 for k in range(len(shape))])


def told(tensor: dict[str, Any]) -> tuple[list[str], np.ndarray, np.ndarray, int | None, str]:
    """Labels, scale, offset, axis and unit of an input or output: real = number × scale + offset."""
    said, shape = tensor.get("parameters", {}), tensor["shape"]
    axis, labels = said.get("axis"), said["labels"].split("\n") if "labels" in said else []
    scale, offset = numbers(said.get("scale", 1), shape, axis), numbers(said.get("offset", 0), shape, axis)
    return labels, scale, offset, axis, said.get("unit", "")


def given(tensor: dict[str, Any], real: np.ndarray) -> dict[str, Any]:
    """An input of a request, made of real values."""
    _, scale, offset, _, _ = told(tensor)
    kind = np.dtype(TYPES.get(tensor["datatype"], tensor["datatype"].lower()))
    call = real if real.ndim == len(tensor["shape"]) else real[None]
    number = (call - offset) / scale
    made = (number if kind.kind == "f" else np.rint(number)).astype(kind)
    shape = list(made.shape)
    return {"name": tensor["name"], "datatype": tensor["datatype"], "shape": shape, "data": made.ravel().tolist()}


def words(tensor: dict[str, Any], answer: np.ndarray, top: int) -> list[str]:
    """What an output says of the first sample, in its own words."""
    labels, scale, offset, axis, unit = told(tensor)
    real = answer * scale + offset
    if labels and axis is not None:
        scores = np.moveaxis(real, axis, -1).reshape(-1, len(labels))[0]
        return [f"{labels[k]}: {scores[k]:.4g} {unit}".rstrip() for k in np.argsort(-scores)[:top]]
    if labels:
        return [labels[k] if 0 <= k < len(labels) else str(k) for k in np.rint(answer).astype(int).ravel()[:top]]
    return [f"{number:.6g} {unit}".rstrip() for number in real.ravel()[:top]]


def asked(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The server's answer."""
    answer = requests.get(url, timeout=60) if body is None else requests.post(url, json=body, timeout=60)
    answer.raise_for_status()
    return dict(answer.json())


def main() -> None:
    """Ask about one sample, and print what each output says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("model")
    parser.add_argument("sample", type=Path)
    parser.add_argument("--top", type=int, default=3)
    parsed = parser.parse_args()
    model = f"{parsed.url}/v2/models/{quote(parsed.model, safe='')}"
    metadata = asked(model)
    for name, value in metadata["parameters"].items():
        print(f"{name} = {value}")
    answered = asked(f"{model}/infer", {"inputs": [given(metadata["inputs"][0], np.load(parsed.sample))]})
    tensors = {tensor["name"]: tensor for tensor in metadata["outputs"]}
    for output in answered["outputs"]:
        array = np.array(output["data"]).reshape(output["shape"])
        for line in words(tensors[output["name"]], array, parsed.top):
            print(f"{output['name']}: {line}")


if __name__ == "__main__":
    main()
