"""Weights of an ONNX graph read from and written to their own file, tensor by tensor, never all at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgelift_builder.data import Array

#: Tensors of that many bytes begin at multiples of a page in the file, so that they can be memory-mapped; smaller ones at
#: those of a cache line: a page for each would be more than they save.
PAGE_FROM_BYTES, PAGE, LINE = 1 << 16, 4096, 64

_COPY_BYTES = 1 << 20


class Weights:
    """The constants of a graph, by name; large ones stay in their file until they are asked for."""

    def __init__(self, model: Path, proto: Any) -> None:
        self._home = model.parent
        self._tensors = {t.name: t for t in proto.graph.initializer}
        self._open: dict[str, Array] = {}

    def get(self, name: str) -> Any:
        """The TensorProto, or None where `name` is no constant of floats."""
        import onnx

        tensor = self._tensors.get(name)
        return tensor if tensor is not None and tensor.data_type == onnx.TensorProto.FLOAT else None

    def array(self, name: str) -> Array:
        """A tensor's values, mapped from its file where it has one."""
        import onnx

        if name not in self._open:
            tensor = self._tensors[name]
            location = self.location(tensor)
            if location is None:
                self._open[name] = onnx.numpy_helper.to_array(tensor)
            else:
                path, offset, _ = location
                dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
                self._open[name] = np.memmap(path, dtype, "r", offset, tuple(tensor.dims))
        return self._open[name]

    def forget(self, name: str) -> None:
        """Unmap a tensor: what was read of it leaves memory."""
        self._open.pop(name, None)

    def location(self, tensor: Any) -> tuple[Path, int, int] | None:
        """`(file, offset, length)` of a tensor that lies beside the graph."""
        entries = {e.key: e.value for e in tensor.external_data}
        if not entries:
            return None
        path = self._home / entries["location"]
        offset = int(entries.get("offset", 0))
        return path, offset, int(entries.get("length", path.stat().st_size - offset))


@dataclass
class TensorEntry:
    """A tensor that is being written: `write` its values in order; `tensor` is what the graph holds."""

    tensor: Any
    _file: IO[bytes]

    def write(self, values: Array) -> None:
        """Append values, row-major."""
        self._file.write(np.ascontiguousarray(values).data)


class TensorFile:
    """A new weights file, written from front to back. A context manager."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, path.open("wb")

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def begin(self, name: str, dtype: str, shape: tuple[int, ...]) -> TensorEntry:
        """Start a tensor; its values follow before the next one begins."""
        import onnx

        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        tensor = onnx.TensorProto(name=name, data_type=kind, dims=shape)
        self._external(tensor, int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return TensorEntry(tensor, self._file)

    def carry(self, tensor: Any, weights: Weights) -> Any:
        """Copy a tensor from its old file as it is; one that lies in the graph stays there."""
        location = weights.location(tensor)
        if location is None:
            return tensor
        path, offset, length = location
        del tensor.external_data[:]
        self._external(tensor, length)
        with path.open("rb") as file:
            file.seek(offset)
            while length:
                block = file.read(min(length, _COPY_BYTES))
                self._file.write(block)
                length -= len(block)
        return tensor

    def _external(self, tensor: Any, length: int) -> None:
        import onnx

        self._file.write(b"\0" * (-self._file.tell() % (PAGE if length >= PAGE_FROM_BYTES else LINE)))
        tensor.data_location = onnx.TensorProto.EXTERNAL
        values = {"location": self._path.name, "offset": str(self._file.tell()), "length": str(length)}
        for key, value in values.items():
            tensor.external_data.add(key=key, value=value)
