"""One input of a request: checked against what the model takes, read from JSON or from raw bytes.

Pure: values and bytes in, arrays out.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from edgelift_agent.runtime.tensors import NUMPY, split_bytes
from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import TensorSpec


class InputReader:
    """Reads one of the model's inputs. Made once per generation, so that what never changes is looked up once."""

    __slots__ = ("_dtype", "_right_shape", "spec")

    def __init__(self, spec: TensorSpec) -> None:
        self.spec = spec
        self._dtype = NUMPY.get(spec.dtype)
        self._right_shape: list[int] | None = None  # of the request before: most clients send one shape only

    def read(self, entry: dict[str, Any], binary: memoryview) -> tuple[np.ndarray[Any, Any], int]:
        """The array that an entry of `inputs` describes.

        Args:
            entry: as it came.
            binary: what of the body's binary part is not read yet.

        Returns:
            The array, and how many bytes of `binary` it took.

        Raises:
            ContractError: `bad-request`, naming the tensor.
        """
        shape = self._shape(entry)
        parameters = entry.get("parameters")
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        if size is None:
            return self._from_json(entry.get("data"), shape), 0
        if not isinstance(size, int) or size < 0 or size > len(binary):
            raise bad_request(f"input {self.spec.name!r}: its binary data goes past the end of the body")
        return self.from_binary(binary[:size], shape), size

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
                return np.array(split_bytes(data), dtype=np.object_).reshape(shape)
            return np.frombuffer(data, dtype=dtype).reshape(shape)
        except (ValueError, struct.error) as error:
            raise bad_request(
                f"input {self.spec.name!r}: {len(data)} bytes do not hold {self.spec.dtype}{shape}"
            ) from error

    def _shape(self, entry: dict[str, Any]) -> list[int]:
        spec = self.spec
        if entry.get("datatype") != spec.dtype:
            raise bad_request(f"input {spec.name!r} is {entry.get('datatype')}; the model takes {spec.dtype}")
        shape = entry.get("shape")
        right = self._right_shape
        if right is not None and shape == right:
            return right
        if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
            raise bad_request(f"input {spec.name!r} has no shape")
        if len(shape) != len(spec.shape) or any(
            want not in (-1, got) for want, got in zip(spec.shape, shape, strict=True)
        ):
            raise bad_request(f"input {spec.name!r} has the shape {shape}; the model takes {spec.shape} (-1: any)")
        self._right_shape = shape
        return shape

    def _from_json(self, data: Any, shape: list[int]) -> np.ndarray[Any, Any]:
        dtype = self._dtype
        if dtype is None:
            raise bad_request(f"input {self.spec.name!r}: {self.spec.dtype} travels as binary data only")
        if data is None:
            raise bad_request(f"input {self.spec.name!r} has no data")
        try:
            if dtype.hasobject:
                flat = np.array([str(item).encode() for item in _flatten(data)], dtype=np.object_)
                return flat.reshape(shape)
            # Row-major whether flat or nested; numpy refuses what overflows or isn't a number.
            return np.array(data, dtype=dtype).reshape(shape)
        except (ValueError, TypeError, OverflowError) as error:
            raise bad_request(
                f"input {self.spec.name!r} does not hold {self.spec.dtype}{shape}: {error}"
            ) from error


def bad_request(what: str) -> ContractError:
    """The error that every request ends in which is not what the model takes."""
    return ContractError("bad-request", f"The request is not what the model takes: {what}.")


def _flatten(data: Any) -> list[Any]:
    if not isinstance(data, list):
        return [data]
    return [leaf for item in data for leaf in _flatten(item)]
