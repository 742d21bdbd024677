"""The outputs of a request: which are wanted and in which form, and the words they are answered in.

Pure: values and arrays in, JSON and bytes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from edgelift_agent.runtime.tensors import NAMES, join_bytes
from edgelift_agent.serving.inputs import bad_request
from edgelift_agent.serving.shared_memory import place_of
from edgelift_contract.errors import ContractError


class Wanted(NamedTuple):
    """How one output is to be answered.

    Attributes:
        binary: as raw bytes behind the JSON part, else in it.
        classes: instead of the values, this many of the largest along the last axis; 0 for the values.
        place: region, offset and size of the shared memory that the bytes go to; None for the answer itself.
    """

    binary: bool = False
    classes: int = 0
    place: tuple[str, int, int] | None = None


AS_JSON, AS_BINARY = Wanted(False), Wanted(True)


def read_outputs(entries: Any, names: Mapping[str, Wanted], default: bool) -> dict[str, Wanted]:
    """What the entries of a request's `outputs` ask for, in their order.

    Args:
        entries: as they came.
        names: the model's outputs.
        default: binary, where an entry doesn't say?

    Raises:
        ContractError: `bad-request`, naming the output.
    """
    if not isinstance(entries, list):
        raise bad_request("'outputs' is not a list")
    wanted: dict[str, Wanted] = {}
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            raise bad_request("an output has no name")
        if name not in names:
            raise bad_request(f"the model has no output {name!r:.80}; it has {', '.join(sorted(names))}")
        if name in wanted:
            raise bad_request(f"output {name!r} is asked for twice")
        parameters = entry.get("parameters")
        wanted[name] = Wanted(default) if parameters is None else _read_parameters(name, parameters, default)
    return wanted


def _read_parameters(name: str, parameters: Any, default: bool) -> Wanted:
    if not isinstance(parameters, dict):
        raise bad_request(f"output {name!r}: its 'parameters' are not an object")
    binary, classes = parameters.get("binary_data", default), parameters.get("classification", 0)
    if type(binary) is not bool:
        raise bad_request(f"output {name!r}: 'binary_data' is neither true nor false")
    if type(classes) is not int or classes < 0:
        raise bad_request(f"output {name!r}: 'classification' is not how many classes")
    place = place_of(parameters)
    return Wanted(binary or place is not None, classes, place)


def describe(
    name: str, array: Any, wanted: Wanted, labels: Mapping[str, Sequence[str]]
) -> tuple[dict[str, Any], bytes | None]:
    """An output's entry in the response, and the bytes that follow it; None when it is all in the entry. `labels` are the
    names along the last axes of those outputs that have some.
    """
    if wanted.classes:
        array = largest(name, array, wanted.classes, labels.get(name, ()))
    dtype = NAMES.get(array.dtype, "BYTES")
    entry: dict[str, Any] = {"name": name, "datatype": dtype, "shape": array.shape}
    if wanted.binary:
        data = join_bytes(array) if dtype == "BYTES" else np.ascontiguousarray(array).tobytes()
        if wanted.place is not None:
            region, offset, _ = wanted.place
            entry["parameters"] = {
                "shared_memory_region": region,
                "shared_memory_offset": offset,
                "shared_memory_byte_size": len(data),
            }
        else:
            entry["parameters"] = {"binary_data_size": len(data)}
        return entry, data
    entry["data"] = _json_data(name, array, dtype)
    return entry, None


def _json_data(name: str, array: Any, dtype: str) -> Any:
    flat = array.ravel()
    if dtype == "BYTES":
        try:
            return [item.decode() if isinstance(item, bytes) else str(item) for item in flat]
        except UnicodeDecodeError:
            raise ContractError(
                "not-in-json", f"Output {name!r} holds bytes that are no text.", hint="Ask for it as binary data."
            ) from None
    # orjson writes no half floats; single precision holds every one of them.
    return flat.astype(np.float32) if dtype == "FP16" else flat


def check_finite(results: Mapping[str, Any], outputs: Mapping[str, Wanted]) -> None:
    """Refuse to write NaN or infinity as JSON, which has no form for them; called when a `null` may stand there.

    Raises:
        ContractError: `not-in-json`, naming the output.
    """
    for name, wanted in outputs.items():
        array = results[name]
        if not wanted.binary and not wanted.classes and array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ContractError(
                "not-in-json",
                f"Output {name!r} holds NaN or infinity, which JSON can't.",
                hint="Ask for it as binary data.",
            )


def largest(name: str, array: Any, classes: int, labels: Sequence[str] = ()) -> Any:
    """Triton's classification: `value:index:label` of the largest along the last axis, largest first, as BYTES[…, k];
    `value:index` where the model's source gave no labels.

    Raises:
        ContractError: `bad-request` for an output that has no axis or no numbers.
    """
    if not array.ndim or array.dtype.kind not in "iuf":
        raise bad_request(f"output {name!r} can't be classified: it is no vector of numbers")
    order = np.argsort(-array.astype(np.float64), axis=-1, kind="stable")[..., : min(classes, array.shape[-1])]
    values = np.take_along_axis(array, order, axis=-1)
    form = "%f:%d" if array.dtype.kind == "f" else "%d:%d"
    pairs = zip(values.ravel().tolist(), order.ravel().tolist(), strict=True)
    words = [(form % pair + (f":{labels[pair[1]]}" if pair[1] < len(labels) else "")).encode() for pair in pairs]
    made = np.empty(len(words), dtype=np.object_)
    made[:] = words
    return made.reshape(order.shape)
