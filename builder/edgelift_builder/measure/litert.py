"""LiteRT behind the call that all runtimes have here: see `runtimes`, and the agent's `runtime/litert.py`, which does the
same on the device.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from edgelift_builder.data import Array, DataSet
from edgelift_contract.manifest import DataType


class LitertSession:
    """A TFLite file with one signature. What it keeps in variables is set to zero before every call: a device answers each
    request for itself.
    """

    def __init__(
        self,
        path: Path,
        threads: int,
        outputs: Iterable[str] | None,
        kinds: Mapping[str, DataType],
        *,
        other_kernels: bool = False,
    ) -> None:
        """Load it.

        Args:
            path: the file.
            threads: 0 lets the runtime decide.
            outputs: names of those to return; all where none are named.
            kinds: element types that numbers are to be returned in; none for as they come.
            other_kernels: without XNNPACK.
        """
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if other_kernels else OpResolverType.AUTO
        self._interpreter = Interpreter(
            model_path=str(path), num_threads=threads or None, experimental_op_resolver_type=resolver
        )
        runner = self._interpreter.get_signature_runner(next(iter(self._interpreter.get_signature_list())))
        # Converters make int32 of int64 and float32 of float64: numbers are given in the width that the file has for them.
        self._inputs = {n: (d["index"], d["dtype"]) for n, d in runner.get_input_details().items()}
        found = runner.get_output_details()
        self._outputs = {n: found[n]["index"] for n in (found if outputs is None else outputs)}
        self._kinds = kinds
        self._shapes: dict[str, tuple[int, ...]] = {}

    def run(self, inputs: DataSet) -> DataSet:
        """Outputs for one call, by name."""
        self._allocate({name: array.shape for name, array in inputs.items()})
        for name, array in inputs.items():
            index, dtype = self._inputs[name]
            other = array.dtype.kind in "iu" or (array.dtype == np.float64 and dtype == np.float32)
            self._interpreter.set_tensor(index, array.astype(dtype) if other else array)
        self._interpreter.reset_all_variables()
        self._interpreter.invoke()
        return {name: self._widened(name, self._interpreter.get_tensor(i)) for name, i in self._outputs.items()}

    def _allocate(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Make room for calls of these shapes, where the last call had others."""
        if shapes == self._shapes:
            return
        for name, shape in shapes.items():
            self._interpreter.resize_tensor_input(self._inputs[name][0], shape)
        self._interpreter.allocate_tensors()
        self._shapes = shapes

    def _widened(self, name: str, array: Array) -> Array:
        kind = self._kinds.get(name, "")
        if array.dtype == np.float32 and kind == "FP64":
            return array.astype(np.float64)
        if array.dtype.kind not in "iu" or not kind.lstrip("U").startswith("INT"):
            return array
        return array.astype(np.dtype(kind.lower()), copy=False)
