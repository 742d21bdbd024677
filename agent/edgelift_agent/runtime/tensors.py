"""Element types: Open Inference Protocol names to numpy types and back, and tensors to arrays."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from edgelift_contract.errors import ContractError
from edgelift_contract.golden import Tensor
from edgelift_contract.manifest import DataType

NUMPY: dict[DataType, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(np.object_),
}
NAMES: dict[np.dtype[Any], DataType] = {dtype: name for name, dtype in NUMPY.items()}


def to_array(tensor: Tensor) -> np.ndarray[Any, Any]:
    """The array that a golden's tensor holds.

    Raises:
        ContractError: `malformed` when the bytes do not fill the shape.
    """
    dtype = NUMPY.get(tensor.dtype)
    if dtype is None:
        raise ContractError(
            "malformed", f"A golden has the element type {tensor.dtype}, which goldens can't hold."
        )
    try:
        if dtype.hasobject:
            return np.array(split_bytes(tensor.data), dtype=np.object_).reshape(tensor.shape)
        return np.frombuffer(tensor.data, dtype=dtype).reshape(tensor.shape)
    except ValueError as error:
        raise ContractError(
            "malformed", f"The golden tensor {tensor.name!r} does not fill its shape: {error}."
        ) from error


def split_bytes(data: bytes | memoryview) -> list[bytes]:
    """BYTES elements: a four-byte little-endian length before each.

    Raises:
        ValueError: an element goes past the end.
    """
    items, offset = [], 0
    while offset < len(data):
        if offset + 4 > len(data):
            raise ValueError("a length goes past the end")
        (length,) = struct.unpack_from("<I", data, offset)
        offset += 4
        if offset + length > len(data):
            raise ValueError("an element goes past the end")
        items.append(bytes(data[offset : offset + length]))
        offset += length
    return items


def join_bytes(array: np.ndarray[Any, Any]) -> bytes:
    """The reverse of `split_bytes`; text is encoded as UTF-8."""
    pieces = []
    for item in array.ravel():
        data = item if isinstance(item, bytes) else str(item).encode()
        pieces += [struct.pack("<I", len(data)), data]
    return b"".join(pieces)
