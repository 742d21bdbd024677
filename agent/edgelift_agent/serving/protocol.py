"""Open Inference Protocol V2, the words: JSON and binary tensors in, arrays out, and back.

Specification: kserve/open-inference-protocol, `inference_rest.md`; the binary tensor extension as
triton-inference-server documents it (`extension_binary_data.md`): the JSON part's length stands in
`Inference-Header-Content-Length`, raw little-endian row-major tensors follow in the inputs' order.

Pure: bytes and arrays, no sockets, no model.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from edgelift_agent.runtime.tensors import NAMES, NUMPY, join_bytes, split_bytes
from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import Manifest, TensorSpec


@dataclass
class InferRequest:
    """A request, decoded.

    Attributes:
        id: the client's; given back.
        inputs: name → array.
        outputs: name → wanted as binary; in the client's order, all outputs when the client named none.
    """

    id: str
    inputs: dict[str, np.ndarray[Any, Any]]
    outputs: dict[str, bool] = field(default_factory=dict)


def decode_request(body: bytes, header_length: int | None, manifest: Manifest) -> InferRequest:
    """Read an inference request and check it against the model.

    Args:
        body: the HTTP body.
        header_length: length of its JSON part, bytes; None when all of it is JSON, 0 for a raw tensor.
        manifest: the model's.

    Raises:
        ContractError: `bad-request`, naming the tensor.
    """
    if header_length == 0:
        return _raw_request(body, manifest)
    length = len(body) if header_length is None else header_length
    if length > len(body):
        raise _bad(f"the header says {length} bytes of JSON, the body has {len(body)}")
    try:
        message = orjson.loads(body[:length])
    except orjson.JSONDecodeError as error:
        raise _bad(f"the body is not JSON: {error}") from error
    if not isinstance(message, dict) or not isinstance(message.get("inputs"), list):
        raise _bad("the body has no list 'inputs'")
    inputs = _decode_inputs(message["inputs"], memoryview(body)[length:], manifest)
    return InferRequest(str(message.get("id", "")), inputs, _wanted(message, manifest))


def _decode_inputs(entries: list[Any], binary: memoryview, manifest: Manifest) -> dict[str, np.ndarray[Any, Any]]:
    specs = {spec.name: spec for spec in manifest.inputs}
    inputs: dict[str, np.ndarray[Any, Any]] = {}
    offset = 0
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise _bad("an input has no name")
        spec = specs.get(entry["name"])
        if spec is None:
            raise _bad(f"the model has no input {entry['name']!r}; it has {', '.join(specs)}")
        parameters = entry.get("parameters") or {}
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        shape = _check_declared(entry, spec)
        if size is None:
            array = _from_json(entry.get("data"), spec, shape)
        else:
            if not isinstance(size, int) or size < 0 or offset + size > len(binary):
                raise _bad(f"input {spec.name!r}: its binary data goes past the end of the body")
            array = _from_binary(binary[offset : offset + size], spec, shape)
            offset += size
        inputs[spec.name] = array
    missing = specs.keys() - inputs.keys()
    if missing:
        raise _bad(f"input {sorted(missing)[0]!r} is missing")
    return inputs


def _check_declared(entry: Mapping[str, Any], spec: TensorSpec) -> list[int]:
    if entry.get("datatype") != spec.dtype:
        raise _bad(f"input {spec.name!r} is {entry.get('datatype')}; the model takes {spec.dtype}")
    shape = entry.get("shape")
    if not isinstance(shape, list) or not all(
        isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in shape
    ):
        raise _bad(f"input {spec.name!r} has no shape")
    if len(shape) != len(spec.shape) or any(
        want not in (-1, got) for want, got in zip(spec.shape, shape, strict=True)
    ):
        raise _bad(f"input {spec.name!r} has the shape {shape}; the model takes {spec.shape} (-1: any)")
    return shape


def _from_json(data: Any, spec: TensorSpec, shape: list[int]) -> np.ndarray[Any, Any]:
    if spec.dtype == "BF16":
        raise _bad(f"input {spec.name!r}: BF16 travels as binary data only")
    if data is None:
        raise _bad(f"input {spec.name!r} has no data")
    try:
        if spec.dtype == "BYTES":
            flat = np.array([str(item).encode() for item in _flatten(data)], dtype=np.object_)
            return flat.reshape(shape)
        # Row-major whether flat or nested; numpy refuses what overflows or isn't a number.
        return np.array(data, dtype=NUMPY[spec.dtype]).reshape(shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise _bad(f"input {spec.name!r} does not hold {spec.dtype}{shape}: {error}") from error


def _flatten(data: Any) -> list[Any]:
    if not isinstance(data, list):
        return [data]
    return [leaf for item in data for leaf in _flatten(item)]


def _from_binary(data: memoryview, spec: TensorSpec, shape: list[int]) -> np.ndarray[Any, Any]:
    try:
        if spec.dtype == "BYTES":
            return np.array(split_bytes(data), dtype=np.object_).reshape(shape)
        return np.frombuffer(data, dtype=NUMPY[spec.dtype]).reshape(shape)
    except (ValueError, KeyError, struct.error) as error:
        raise _bad(f"input {spec.name!r}: {len(data)} bytes do not hold {spec.dtype}{shape}") from error


def _raw_request(body: bytes, manifest: Manifest) -> InferRequest:
    if len(manifest.inputs) != 1:
        raise _bad("a raw binary request needs a model with exactly one input")
    spec = manifest.inputs[0]
    if spec.dtype == "BYTES":
        return InferRequest(
            "", {spec.name: _from_binary(memoryview(body), spec, [-1])}, _all(manifest, binary=True)
        )
    shape = [1 if n == -1 and axis == 0 else n for axis, n in enumerate(spec.shape)]
    return InferRequest("", {spec.name: _from_binary(memoryview(body), spec, shape)}, _all(manifest, binary=True))


def _wanted(message: Mapping[str, Any], manifest: Manifest) -> dict[str, bool]:
    parameters = message.get("parameters") or {}
    default = bool(isinstance(parameters, dict) and parameters.get("binary_data_output", False))
    entries = message.get("outputs")
    if not entries:
        return _all(manifest, binary=default)
    known = {spec.name for spec in manifest.outputs}
    wanted: dict[str, bool] = {}
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("name") not in known:
            name = entry.get("name") if isinstance(entry, dict) else entry
            raise _bad(f"the model has no output {name!r}; it has {', '.join(sorted(known))}")
        own = entry.get("parameters") or {}
        wanted[entry["name"]] = bool(own.get("binary_data", default))
    return wanted


def _all(manifest: Manifest, *, binary: bool) -> dict[str, bool]:
    return {spec.name: binary for spec in manifest.outputs}


def encode_response(
    request: InferRequest, results: Mapping[str, Any], *, model: str, version: str, parameters: Mapping[str, Any]
) -> tuple[list[bytes], int | None]:
    """The response's body in pieces, and the length of its JSON part; None when all of it is JSON."""
    outputs, blobs = [], []
    for name, binary in request.outputs.items():
        array = results[name]
        dtype = NAMES.get(array.dtype, "BYTES")
        entry: dict[str, Any] = {"name": name, "datatype": dtype, "shape": list(array.shape)}
        if binary:
            data = join_bytes(array) if dtype == "BYTES" else np.ascontiguousarray(array).tobytes()
            entry["parameters"] = {"binary_data_size": len(data)}
            blobs.append(data)
        elif dtype == "BYTES":
            entry["data"] = [item.decode() if isinstance(item, bytes) else str(item) for item in array.ravel()]
        else:
            entry["data"] = np.ascontiguousarray(array.ravel(), dtype=_json_dtype(array.dtype))
        outputs.append(entry)
    message: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": outputs}
    if request.id:
        message["id"] = request.id
    if parameters:
        message["parameters"] = parameters
    head = orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY)
    return [head, *blobs], len(head) if blobs else None


def _json_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    # orjson writes no half floats; single precision holds every one of them.
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def _bad(what: str) -> ContractError:
    return ContractError("bad-request", f"The request is not what the model takes: {what}.")
