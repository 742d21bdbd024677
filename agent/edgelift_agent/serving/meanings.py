"""What a model's numbers mean, in the protocol's `parameters`: values there are text, numbers, true or false, never lists.

So a list is one text: names of classes one a line, numbers with spaces between, as Triton's label files and everyone's
`split` have it. Nothing here is applied to a tensor: requests and answers are the model's own numbers.
"""

from __future__ import annotations

from typing import Any

from edgelift_contract.manifest import Manifest, TensorSpec

#: Before the names of the free table, which may be the same as the agent's own.
METADATA_PREFIX = "metadata."


def tensor_metadata(spec: TensorSpec) -> dict[str, Any]:
    """An input or output as the protocol's model metadata has it; with `parameters` where its source told of it."""
    told = {"name": spec.name, "datatype": spec.dtype, "shape": spec.shape}
    meaning = spec.meaning
    if meaning is None:
        return told
    parameters: dict[str, Any] = {}
    if meaning.labels:
        parameters["labels"] = "\n".join(meaning.labels)
    if meaning.unit:
        parameters["unit"] = meaning.unit
    if meaning.scale:
        parameters["scale"] = _numbers(meaning.scale)
    if meaning.offset:
        parameters["offset"] = _numbers(meaning.offset)
    if meaning.axis is not None:
        parameters["axis"] = meaning.axis
    return told | {"parameters": parameters}


def model_parameters(manifest: Manifest) -> dict[str, Any]:
    """The source's free table, each name after `metadata.`."""
    return {f"{METADATA_PREFIX}{name}": value for name, value in manifest.metadata.items()}


def names_of_classes(manifest: Manifest) -> dict[str, list[str]]:
    """Output → the names along its last axis, of those that have some there."""
    return {
        spec.name: spec.meaning.labels
        for spec in manifest.outputs
        if spec.meaning is not None and spec.meaning.labels and spec.meaning.axis == len(spec.shape) - 1
    }


def _numbers(numbers: list[float]) -> float | str:
    return numbers[0] if len(numbers) == 1 else " ".join(map(repr, numbers))
