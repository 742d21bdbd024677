"""Open Inference Protocol V2, the words: JSON and binary tensors in, arrays out, and back.

Specification: kserve/open-inference-protocol, `inference_rest.md`; the binary tensor extension as
triton-inference-server documents it (`extension_binary_data.md`): the JSON part's length stands in
`Inference-Header-Content-Length`, raw little-endian row-major tensors follow in the inputs' order.

Pure: bytes and arrays, no sockets, no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import orjson

from edgelift_agent.runtime.tensors import NAMES, join_bytes
from edgelift_agent.serving.inputs import InputReader, bad_request
from edgelift_contract.manifest import Manifest

_NOTHING = memoryview(b"")


class InferRequest(NamedTuple):
    """A request, decoded.

    Attributes:
        id: the client's; given back.
        inputs: name → array.
        outputs: name → wanted as binary; in the client's order, all outputs when the client named none.
    """

    id: str
    inputs: dict[str, np.ndarray[Any, Any]]
    outputs: Mapping[str, bool]


class Codec:
    """Requests and responses of one generation. What is the same in all of them is made ready here, once."""

    def __init__(self, manifest: Manifest, *, model: str, version: str, parameters: Mapping[str, str]) -> None:
        """Prepare.

        Args:
            manifest: whose inputs and outputs they are.
            model: the slot's name, as responses give it.
            version: the generation's number, as responses give it.
            parameters: of every response.
        """
        self._readers = {spec.name: InputReader(spec) for spec in manifest.inputs}
        self._as_json = {spec.name: False for spec in manifest.outputs}
        self._as_binary = dict.fromkeys(self._as_json, True)
        named = orjson.dumps({"model_name": model, "model_version": version, "parameters": parameters})
        self._before_outputs = named[:-1] + b',"outputs":'

    def decode(self, body: bytes, header_length: int | None) -> InferRequest:
        """Read an inference request and check it against the model.

        Args:
            body: the HTTP body.
            header_length: length of its JSON part, bytes; None when all of it is JSON, 0 for a raw tensor.

        Raises:
            ContractError: `bad-request`, naming the tensor.
        """
        binary = _NOTHING
        if header_length is not None:
            if header_length == 0:
                return self._raw_request(body)
            if header_length > len(body):
                raise bad_request(f"the header says {header_length} bytes of JSON, the body has {len(body)}")
            body, binary = body[:header_length], memoryview(body)[header_length:]
        try:
            message = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise bad_request(f"the body is not JSON: {error}") from error
        if not isinstance(message, dict) or not isinstance(message.get("inputs"), list):
            raise bad_request("the body has no list 'inputs'")
        inputs = self._inputs(message["inputs"], binary)
        return InferRequest(str(message.get("id", "")), inputs, self._wanted(message))

    def _inputs(self, entries: list[Any], binary: memoryview) -> dict[str, np.ndarray[Any, Any]]:
        inputs: dict[str, np.ndarray[Any, Any]] = {}
        for entry in entries:
            if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
                raise bad_request("an input has no name")
            name = entry["name"]
            reader = self._readers.get(name)
            if reader is None:
                raise bad_request(f"the model has no input {name!r}; it has {', '.join(self._readers)}")
            inputs[name], used = reader.read(entry, binary)
            if used:
                binary = binary[used:]
        if len(inputs) < len(self._readers):
            missing = sorted(self._readers.keys() - inputs.keys())
            raise bad_request(f"input {missing[0]!r} is missing")
        return inputs

    def _raw_request(self, body: bytes) -> InferRequest:
        if len(self._readers) != 1:
            raise bad_request("a raw binary request needs a model with exactly one input")
        ((name, reader),) = self._readers.items()
        shape = [1 if n == -1 and axis == 0 else n for axis, n in enumerate(reader.spec.shape)]
        if reader.spec.dtype == "BYTES":
            shape = [-1]
        return InferRequest("", {name: reader.from_binary(memoryview(body), shape)}, self._as_binary)

    def _wanted(self, message: Mapping[str, Any]) -> Mapping[str, bool]:
        parameters, entries = message.get("parameters"), message.get("outputs")
        default = bool(isinstance(parameters, dict) and parameters.get("binary_data_output", False))
        if not entries:
            return self._as_binary if default else self._as_json
        wanted: dict[str, bool] = {}
        for entry in entries:
            name = entry.get("name") if isinstance(entry, dict) else entry
            if not isinstance(entry, dict) or name not in self._as_json:
                raise bad_request(f"the model has no output {name!r}; it has {', '.join(sorted(self._as_json))}")
            own = entry.get("parameters") or {}
            wanted[entry["name"]] = bool(own.get("binary_data", default))
        return wanted

    def encode(self, request: InferRequest, results: Mapping[str, Any]) -> tuple[list[bytes], int | None]:
        """The response's body in pieces, and the length of its JSON part; None when all of it is JSON.

        Args:
            request: what is answered.
            results: the model's outputs by name, at least those that the request wants.
        """
        outputs, blobs = [], []
        for name, binary in request.outputs.items():
            array = results[name]
            dtype = NAMES.get(array.dtype, "BYTES")
            entry: dict[str, Any] = {"name": name, "datatype": dtype, "shape": array.shape}
            if binary:
                data = join_bytes(array) if dtype == "BYTES" else np.ascontiguousarray(array).tobytes()
                entry["parameters"] = {"binary_data_size": len(data)}
                blobs.append(data)
            else:
                entry["data"] = _json_data(array, dtype)
            outputs.append(entry)
        described = orjson.dumps(outputs, option=orjson.OPT_SERIALIZE_NUMPY)
        given_back = b',"id":%b}' % orjson.dumps(request.id) if request.id else b"}"
        head = b"".join((self._before_outputs, described, given_back))
        return [head, *blobs], len(head) if blobs else None


def _json_data(array: np.ndarray[Any, Any], dtype: str) -> Any:
    flat = array.ravel()
    if dtype == "BYTES":
        return [item.decode() if isinstance(item, bytes) else str(item) for item in flat]
    # orjson writes no half floats; single precision holds every one of them.
    return flat.astype(np.float32) if dtype == "FP16" else flat
