"""Arrays by input name, as they cross between processes: on disk, never through a pipe.

A data set is a dict of equally long arrays, axis 0 the sample; its digest covers names, types, shapes and bytes. Text is
an array of numpy's fixed-width unicode (kind `U`), which crosses without being pickled; see `plain`.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import DataType

Array: TypeAlias = npt.NDArray[Any]
DataSet: TypeAlias = dict[str, Array]

_BY_KIND: dict[str, DataType] = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "float16": "FP16", "float32": "FP32", "float64": "FP64", "str": "BYTES",
}  # fmt: skip


def data_type(array: Array) -> DataType:
    """The contract's name for an array's element type.

    Raises:
        ContractError: `source-invalid` for a type that no runtime takes.
    """
    found = _BY_KIND.get(kind_name(array))
    if found is None:
        raise ContractError(
            "source-invalid",
            f"Arrays of {array.dtype.name} cannot be given to a model.",
            hint=f"Use one of {', '.join(get_args(DataType))}.",
        )
    return found


def is_text(array: Array) -> bool:
    """Does it hold text."""
    return array.dtype.kind == "U"


def kind_name(array: Array) -> str:
    """Numpy's name of the element type; `str` for text of any width."""
    return "str" if is_text(array) else array.dtype.name


def plain(values: Any) -> Array:
    """An array as data sets hold it: text, and bytes that are UTF-8, as unicode; the rest as numpy has it.

    Raises:
        ContractError: `source-invalid` for text that would not come out as it went in: bytes that are no UTF-8, a lone
            surrogate, a NUL at the end (numpy drops it).
    """
    array = np.asarray(values)
    if array.dtype.kind not in "USOT":
        return array
    items = array.ravel().tolist()
    if not all(isinstance(item, str | bytes) for item in items):
        return array
    try:
        text = [item.decode() if isinstance(item, bytes) else item for item in items]
        for item in text:
            item.encode()
    except UnicodeError as error:
        raise ContractError("source-invalid", f"Text must be UTF-8: {error}.") from error
    if any(item.endswith("\0") for item in text):
        raise ContractError("source-invalid", "Text that ends in a NUL character cannot be kept.")
    return np.array(text, dtype=np.str_).reshape(array.shape)


def save(path: Path, data: Mapping[str, Array]) -> None:
    """Write a data set; `load` reads it back equal, names and order included."""
    arrays: dict[str, Any] = {
        f"{i:04d}:{name}": np.ascontiguousarray(array) for i, (name, array) in enumerate(data.items())
    }
    np.savez(path, **arrays)


def load(path: Path) -> DataSet:
    """Read a data set. Never runs code: pickled arrays are refused by numpy."""
    with np.load(path, allow_pickle=False) as stored:
        return {key.partition(":")[2]: stored[key] for key in sorted(stored.files)}


def stream(path: Path, size: int = 1) -> Iterator[DataSet]:
    """A stored data set in order, `size` samples at a time, of which no more than these are in memory."""
    with zipfile.ZipFile(path) as archive, ExitStack() as open_files:
        columns = []
        for entry in sorted(archive.namelist()):
            file = open_files.enter_context(archive.open(entry))
            columns.append((entry.removesuffix(".npy").partition(":")[2], file, *_header(file)))
        count = columns[0][2][0] if columns else 0
        for start in range(0, count, size):
            here = min(size, count - start)
            yield {name: _read(file, (here, *shape[1:]), dtype) for name, file, shape, dtype in columns}


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _read(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    wanted = int(np.prod(shape)) * dtype.itemsize
    return np.frombuffer(file.read(wanted), dtype=dtype).reshape(shape)


def length(data: Mapping[str, Array]) -> int:
    """Number of samples."""
    return len(next(iter(data.values()))) if data else 0


def sample(data: Mapping[str, Array], start: int, stop: int) -> DataSet:
    """Samples `start` (included) to `stop` (not included)."""
    return {name: array[start:stop] for name, array in data.items()}


def chunks(data: Mapping[str, Array], size: int) -> Iterator[DataSet]:
    """The samples in order, `size` at a time; the last may be shorter."""
    for start in range(0, length(data), size):
        yield sample(data, start, start + size)


def digest(data: Mapping[str, Array]) -> str:
    """SHA-256 over each array's name, type, shape and row-major bytes, in order of name."""
    sha = hashlib.sha256()
    for name in sorted(data):
        array = np.ascontiguousarray(data[name])
        sha.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        sha.update(array.data if array.size else b"")
    return sha.hexdigest()
