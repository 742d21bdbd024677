"""Arrays by input name, as they cross between processes: on disk, never through a pipe.

A data set is a dict of equally long arrays, axis 0 the sample; its digest covers names, types, shapes and bytes. Text is
an array of numpy's fixed-width unicode (kind `U`), which crosses without being pickled; see `plain`. Where samples differ in
their shape a column is `ragged`. How one sample becomes what a model takes is `calls`' business.
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

from edgelift_builder import ragged
from edgelift_builder.exceptions import in_short
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
            f"Arrays of {array.dtype.name} can neither be given to a served model nor answered by one.",
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
        raise ContractError("source-invalid", f"Text must be UTF-8: {in_short(str(error))}.") from error
    if any(item.endswith("\0") for item in text):
        raise ContractError("source-invalid", "Text that ends in a NUL character cannot be kept.")
    return np.array(text, dtype=np.str_).reshape(array.shape)


#: Ends the name of a ragged column's table of shapes in a stored data set.
_SHAPES = "#shapes"


def save(path: Path, data: Mapping[str, Array]) -> None:
    """Write a data set; `load` reads it back equal, names and order included."""
    arrays: dict[str, Any] = {}
    for i, (name, array) in enumerate(data.items()):
        key = f"{i:04d}:{name}"
        if ragged.is_ragged(array):
            arrays[key], arrays[f"{i:04d}{_SHAPES}:{name}"] = ragged.pack(array)
        else:
            arrays[key] = np.ascontiguousarray(array).reshape(array.shape)
    np.savez(path, **arrays)


def load(path: Path) -> DataSet:
    """Read a data set. Never runs code: pickled arrays are refused by numpy."""
    with np.load(path, allow_pickle=False) as stored:
        keys = sorted(key for key in stored.files if not _is_shapes(key))
        return {_name(key): _whole(stored, key) for key in keys}


def _whole(stored: Any, key: str) -> Array:
    shapes = _shapes_key(key)
    return ragged.unpack(stored[key], stored[shapes]) if shapes in stored.files else stored[key]


def _name(key: str) -> str:
    return key.partition(":")[2]


def _is_shapes(key: str) -> bool:
    return key.partition(":")[0].endswith(_SHAPES)


def _shapes_key(key: str) -> str:
    number, _, name = key.partition(":")
    return f"{number}{_SHAPES}:{name}"


def stream(path: Path, size: int = 1) -> Iterator[DataSet]:
    """A stored data set in order, `size` samples at a time, of which no more than these are in memory."""
    with zipfile.ZipFile(path) as archive, ExitStack() as open_files:
        columns = [
            _Column(archive, entry, open_files) for entry in sorted(archive.namelist()) if not _is_shapes(entry)
        ]
        count = columns[0].length if columns else 0
        for start in range(0, count, size):
            here = min(size, count - start)
            yield {column.name: column.read(start, here) for column in columns}


class _Column:
    """A column that is read from front to back."""

    def __init__(self, archive: zipfile.ZipFile, entry: str, open_files: ExitStack) -> None:
        key = entry.removesuffix(".npy")
        self.name = _name(key)
        self._file = open_files.enter_context(archive.open(entry))
        shape, self._dtype = _header(self._file)
        self._shapes: Array | None = None
        if f"{_shapes_key(key)}.npy" in archive.namelist():
            with archive.open(f"{_shapes_key(key)}.npy") as table:
                self._shapes = np.lib.format.read_array(table, allow_pickle=False)
        self.length = shape[0] if self._shapes is None else len(self._shapes)
        self._each = shape[1:]

    def read(self, start: int, count: int) -> Array:
        """The next `count` samples, the first of which is `start`."""
        if self._shapes is None:
            return self._take((count, *self._each))
        return ragged.of([self._take(tuple(shape)) for shape in self._shapes[start : start + count]])

    def _take(self, shape: tuple[int, ...]) -> Array:
        wanted = int(np.prod(shape)) * self._dtype.itemsize
        return np.frombuffer(self._file.read(wanted), dtype=self._dtype).reshape(shape)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


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
        for array in data[name] if ragged.is_ragged(data[name]) else (data[name],):
            sha.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
            sha.update(np.ascontiguousarray(array).data if array.size else b"")
    return sha.hexdigest()
