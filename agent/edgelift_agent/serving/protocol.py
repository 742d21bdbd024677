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

from edgelift_agent.serving.bodies import LOOKED_AT_BYTES, check_claim
from edgelift_agent.serving.inputs import InputReader, bad_request
from edgelift_agent.serving.json_data import holds_numbers_alone, may_hold_words
from edgelift_agent.serving.meanings import names_of_classes
from edgelift_agent.serving.outputs import AS_BINARY, AS_JSON, Wanted, check_finite, describe, read_outputs
from edgelift_agent.serving.shared_memory import SharedMemory
from edgelift_contract.manifest import Manifest

_NOTHING = memoryview(b"")


class InferRequest(NamedTuple):
    """A request, decoded.

    Attributes:
        id: the client's; given back.
        inputs: name → array.
        outputs: name → in which form; in the client's order, all outputs when the client named none.
        timeout_us: after its arrival the client no longer waits for an answer, microseconds; 0 for no such limit.
    """

    id: str
    inputs: dict[str, np.ndarray[Any, Any]]
    outputs: Mapping[str, Wanted]
    timeout_us: int = 0


class Codec:
    """Requests and responses of one generation. What is the same in all of them is made ready here, once."""

    def __init__(
        self,
        manifest: Manifest,
        *,
        model: str,
        version: str,
        parameters: Mapping[str, str],
        regions: SharedMemory | None = None,
    ) -> None:
        """Prepare.

        Args:
            manifest: whose inputs and outputs they are.
            model: the slot's name, as responses give it.
            version: the generation's number, as responses give it.
            parameters: of every response.
            regions: of shared memory, where tensors may lie; None for none.
        """
        self._regions = regions
        text = manifest.runtime == "onnxruntime"  # its strings are text
        self._readers = {spec.name: InputReader(spec, text=text) for spec in manifest.inputs}
        self._is_one_tensor = len(manifest.inputs) == 1 and manifest.inputs[0].dtype != "BYTES"
        self._only = next(iter(self._readers.values())) if len(self._readers) == 1 else None
        self._as_json = {spec.name: AS_JSON for spec in manifest.outputs}
        self._as_binary = dict.fromkeys(self._as_json, AS_BINARY)
        self._labels = names_of_classes(manifest)
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
        if len(body) > LOOKED_AT_BYTES and self._is_one_tensor:
            check_claim(body)
        try:
            message = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise bad_request(f"the body is not JSON: {error}") from error
        if not isinstance(message, dict) or not isinstance(message.get("inputs"), list):
            raise bad_request("the body has no list 'inputs'")
        inputs = self._plain_input(body, message) if self._only is not None and not binary else None
        if inputs is None:
            inputs = self._inputs(message["inputs"], binary, may_hold_words(body))
        given = message.get("id", "")
        if type(given) is not str and type(given) is not int:
            raise bad_request("'id' is not a string")
        parameters, outputs = message.get("parameters"), message.get("outputs")
        default, timeout_us = (False, 0) if parameters is None else _read_parameters(parameters)
        if outputs is None or outputs == []:
            wanted: Mapping[str, Wanted] = self._as_binary if default else self._as_json
        else:
            wanted = read_outputs(outputs, self._as_json, default)
        return InferRequest(str(given), inputs, wanted, timeout_us)

    def _plain_input(self, body: bytes, message: dict[str, Any]) -> dict[str, np.ndarray[Any, Any]] | None:
        """The input of the request that most clients send; None for any other."""
        if self._only is None or not holds_numbers_alone(body, message):
            return None
        array = self._only.read_quickly(message["inputs"][0])
        return None if array is None else {self._only.spec.name: array}

    def _inputs(self, entries: list[Any], binary: memoryview, words: bool) -> dict[str, np.ndarray[Any, Any]]:
        inputs: dict[str, np.ndarray[Any, Any]] = {}
        for entry in entries:
            name = entry.get("name") if isinstance(entry, dict) else None
            if not isinstance(name, str):
                raise bad_request("an input has no name")
            reader = self._readers.get(name)
            if reader is None:
                raise bad_request(f"the model has no input {name!r:.80}; it has {', '.join(self._readers)}")
            if name in inputs:
                raise bad_request(f"input {name!r} is there twice")
            inputs[name], used = reader.read(entry, binary, words=words, regions=self._regions)
            if used:
                binary = binary[used:]
        if len(inputs) < len(self._readers):
            missing = sorted(self._readers.keys() - inputs.keys())
            raise bad_request(f"input {missing[0]!r} is missing")
        if binary:
            raise bad_request(f"{len(binary)} bytes of binary data belong to no input")
        return inputs

    def _raw_request(self, body: bytes) -> InferRequest:
        if len(self._readers) != 1:
            raise bad_request("a raw binary request needs a model with exactly one input")
        ((name, reader),) = self._readers.items()
        shape = list(reader.spec.shape)
        if shape.count(-1) > 1 and shape[0] == -1:  # one sample; a single free axis follows from how much came
            shape[0] = 1
        if shape.count(-1) > 1:
            raise bad_request(f"a raw binary request can't say the shape of input {name!r}")
        return InferRequest("", {name: reader.from_binary(memoryview(body), shape)}, self._as_binary)

    def encode(self, request: InferRequest, results: Mapping[str, Any]) -> tuple[list[bytes], int | None]:
        """The response's body in pieces, and the length of its JSON part; None when all of it is JSON.

        Args:
            request: what is answered.
            results: the model's outputs by name, at least those that the request wants.

        Raises:
            ContractError: `not-in-json` for what JSON can't hold, `bad-request` for what can't be classified.
        """
        entries, blobs = [], []
        for name, wanted in request.outputs.items():
            entry, data = describe(name, results[name], wanted, self._labels)
            entries.append(entry)
            if data is None:
                continue
            if wanted.place is None:
                blobs.append(data)
            else:
                self._put(wanted.place, data)
        described = orjson.dumps(entries, option=orjson.OPT_SERIALIZE_NUMPY)
        if b"l" in described:  # as in the `null` that stands for a NaN
            check_finite(results, request.outputs)
        given_back = b',"id":%b}' % orjson.dumps(request.id) if request.id else b"}"
        head = b"".join((self._before_outputs, described, given_back))
        return [head, *blobs], len(head) if blobs else None

    def _put(self, place: tuple[str, int, int], data: bytes) -> None:
        if self._regions is None:
            raise bad_request("no memory is shared here")
        self._regions.write(*place, data)


def _read_parameters(parameters: Any) -> tuple[bool, int]:
    """Of a request: are outputs binary where they don't say, and its timeout, microseconds."""
    if not isinstance(parameters, dict):
        raise bad_request("'parameters' is not an object")
    binary, timeout_us = parameters.get("binary_data_output", False), parameters.get("timeout", 0)
    if type(binary) is not bool:
        raise bad_request("'binary_data_output' is neither true nor false")
    if type(timeout_us) is not int or timeout_us < 0:
        raise bad_request("'timeout' is not a number of microseconds")
    return binary, timeout_us
