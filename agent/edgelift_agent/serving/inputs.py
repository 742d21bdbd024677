"""One input of a request: checked against what the model takes, read from JSON or from raw bytes.

Pure: values and bytes in, arrays out.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from edgelift_agent.runtime.tensors import NUMPY, split_bytes
from edgelift_agent.serving.json_data import read_data, read_numbers
from edgelift_agent.serving.shared_memory import SharedMemory, place_of
from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import TensorSpec


class InputReader:
    """Reads one of the model's inputs. Made once per generation, so that what never changes is looked up once."""

    __slots__ = ("_dtype", "_is_float", "_right_shape", "_text", "spec")

    def __init__(self, spec: TensorSpec, *, text: bool = False) -> None:
        """`text`: the runtime takes BYTES as UTF-8 text only, so other bytes are the client's to mend."""
        self.spec, self._text = spec, text
        self._dtype = NUMPY.get(spec.dtype)
        self._is_float = spec.dtype in ("FP32", "FP64")
        self._right_shape: list[int] | None = None  # of the request before: most clients send one shape only

    def read(
        self, entry: dict[str, Any], binary: memoryview, *, words: bool = True, regions: SharedMemory | None = None
    ) -> tuple[np.ndarray[Any, Any], int]:
        """The array that an entry of `inputs` describes.

        Args:
            entry: as it came.
            binary: what of the body's binary part is not read yet.
            words: see `json_data.may_hold_words`.
            regions: where tensors may lie instead.

        Returns:
            The array, and how many bytes of `binary` it took.

        Raises:
            ContractError: `bad-request`, naming the tensor.
        """
        shape = self._shape(entry)
        parameters = entry.get("parameters")
        if parameters is not None:
            if not isinstance(parameters, dict):
                raise bad_request(f"input {self.spec.name!r}: its 'parameters' are not an object")
            size = parameters.get("binary_data_size")
            if size is not None:
                if type(size) is not int or size < 0 or size > len(binary):
                    raise bad_request(f"input {self.spec.name!r}: its binary data goes past the end of the body")
                return self.from_binary(binary[:size], shape), size
            place = place_of(parameters)
            if place is not None:
                if regions is None:
                    raise bad_request(f"input {self.spec.name!r}: no memory is shared here")
                return self.from_binary(memoryview(regions.read(*place)), shape), 0
        return self._from_json(entry.get("data"), shape, words), 0

    def from_binary(self, data: memoryview, shape: list[int]) -> np.ndarray[Any, Any]:
        """The array that raw little-endian, row-major bytes hold.

        Raises:
            ContractError: `bad-request`.
        """
        dtype = self._dtype
        if dtype is None:
            raise bad_request(f"input {self.spec.name!r}: nothing here can hold {self.spec.dtype}")
        try:
            if dtype.hasobject:
                return np.array(self._elements(data), dtype=np.object_).reshape(shape)
            made = np.frombuffer(data, dtype=dtype).reshape(shape)
        except (ValueError, struct.error) as error:
            raise bad_request(
                f"input {self.spec.name!r}: {len(data)} bytes do not hold {self.spec.dtype}{shape}"
            ) from error
        if dtype.kind == "b" and made.size and made.view(np.uint8).max() > 1:
            raise bad_request(f"input {self.spec.name!r}: a BOOL is a byte 0 or 1")
        return made

    def _elements(self, data: memoryview) -> list[bytes]:
        items = split_bytes(data)
        if self._text:
            for place, item in enumerate(items):
                try:
                    item.decode()
                except UnicodeDecodeError:
                    raise bad_request(
                        f"input {self.spec.name!r}: element {place} is not UTF-8, and the model takes text"
                    ) from None
        return items

    def read_quickly(self, entry: dict[str, Any]) -> np.ndarray[Any, Any] | None:
        """The array of an entry whose data `holds_numbers_alone`; None for `read`, which tells what is wrong."""
        if not self._is_float or self._dtype is None or entry.get("name") != self.spec.name:
            return None
        return read_numbers(entry.get("data"), self._dtype, self._shape(entry))

    def _shape(self, entry: dict[str, Any]) -> list[int]:
        spec = self.spec
        if entry.get("datatype") != spec.dtype:
            given = entry.get("datatype")
            raise bad_request(f"input {spec.name!r} is {given!s:.40}; the model takes {spec.dtype}")
        shape = entry.get("shape")
        right = self._right_shape
        if right is not None and shape == right and set(map(type, shape)) <= {int}:
            return right
        if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
            raise bad_request(f"input {spec.name!r} has no shape")
        if len(shape) != len(spec.shape) or any(
            want not in (-1, got) for want, got in zip(spec.shape, shape, strict=True)
        ):
            raise bad_request(
                f"input {spec.name!r} has the shape {shape!s:.80}; the model takes {spec.shape} (-1: any)"
            )
        self._right_shape = shape
        return shape

    def _from_json(self, data: Any, shape: list[int], words: bool) -> np.ndarray[Any, Any]:
        if self._dtype is None:
            raise bad_request(f"input {self.spec.name!r}: {self.spec.dtype} travels as binary data only")
        if data is None:
            raise bad_request(f"input {self.spec.name!r} has no data")
        try:
            return read_data(data, self._dtype, shape, words=words)
        except ValueError as error:
            raise bad_request(f"input {self.spec.name!r} ({self.spec.dtype}{shape}) {error}") from error


def bad_request(what: str) -> ContractError:
    """The error that every request ends in which is not what the model takes."""
    return ContractError("bad-request", f"The request is not what the model takes: {what}.")
