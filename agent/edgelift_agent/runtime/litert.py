"""TFLite models through LiteRT: ai-edge-litert, or tflite-runtime where only that is installed.

An interpreter is not thread-safe (tensorflow#26365), so a model owns a pool of them and a request borrows one.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgelift_agent.runtime.packages import version_of
from edgelift_contract.errors import ContractError, DeviceError
from edgelift_contract.manifest import Manifest, TensorSpec

#: package → module of its interpreter, in order of preference.
_PACKAGES = {"ai-edge-litert": "ai_edge_litert.interpreter", "tflite-runtime": "tflite_runtime.interpreter"}

#: Interpreters per model: requests that may run at once.
POOL_SIZE = 2


class LiteRtRuntime:
    """See `ports.Runtime`."""

    name = "litert"

    def version(self) -> str | None:
        """See `ports.Runtime`."""
        return next((version for _, version in _installed()), None)

    def load(self, folder: Path, manifest: Manifest) -> LiteRtModel:
        """See `ports.Runtime`."""
        import importlib  # late: with the packages it is for

        failures = []
        for package, _ in _installed():
            try:
                module = importlib.import_module(_PACKAGES[package])
            except Exception as error:  # noqa: BLE001 - a broken wheel raises anything; the next one may do
                failures.append(f"{package}: {error}")
                continue
            return self._load(module.Interpreter, folder / manifest.model_file.path, manifest)
        raise DeviceError(
            "no-runtime", f"No TFLite runtime could be imported: {'; '.join(failures) or 'none installed'}."
        )

    def _load(self, interpreter: Any, path: Path, manifest: Manifest) -> LiteRtModel:
        threads = manifest.options.threads or None
        try:
            pool = [interpreter(model_path=str(path), num_threads=threads) for _ in range(POOL_SIZE)]
            return LiteRtModel(pool, manifest)
        except (ValueError, RuntimeError, KeyError) as error:
            raise ContractError(
                "load-failed", f"LiteRT could not load {manifest.model}@{manifest.version}: {error}."
            ) from error


class LiteRtModel:
    """See `ports.LoadedModel`. Manifest names are bound to the signature's tensors once, at load."""

    accelerators = ()

    def __init__(self, interpreters: list[Any], manifest: Manifest) -> None:
        self._pool: queue.SimpleQueue[_Borrowed] = queue.SimpleQueue()
        for interpreter in interpreters:
            self._pool.put(_Borrowed(interpreter, manifest))
        self._outputs = [spec.name for spec in manifest.outputs]

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """See `ports.LoadedModel`."""
        borrowed = self._pool.get()
        try:
            return borrowed.run(inputs, list(outputs) if outputs else self._outputs)
        finally:
            self._pool.put(borrowed)

    def close(self) -> None:
        """See `ports.LoadedModel`."""
        while not self._pool.empty():
            self._pool.get()


class _Borrowed:
    """One interpreter with its tensors allocated for the last shapes it saw.

    What a model keeps in variables is set to zero before each request, which is answered for itself: the next one may be
    another client's, or go to another interpreter.
    """

    def __init__(self, interpreter: Any, manifest: Manifest) -> None:
        self._interpreter = interpreter
        signed_in, signed_out = _signature(interpreter)
        self._inputs = _bind([spec.name for spec in manifest.inputs], signed_in, interpreter.get_input_details())
        self._outputs = _bind(
            [spec.name for spec in manifest.outputs], signed_out, interpreter.get_output_details()
        )
        self._narrow = _other_width(manifest.inputs, self._inputs, lambda _, taken: taken)
        self._wide = _other_width(manifest.outputs, self._outputs, lambda stated, _: stated)
        self._shapes: dict[str, tuple[int, ...]] = {
            name: tuple(int(n) for n in detail["shape"]) for name, detail in self._inputs.items()
        }
        if any(-1 in spec.shape for spec in manifest.inputs):
            self._shapes = dict.fromkeys(
                self._inputs, ()
            )  # a length of 1 may be too short for it: the first request says
        else:
            interpreter.allocate_tensors()

    def run(self, inputs: Mapping[str, Any], outputs: list[str]) -> dict[str, Any]:
        self._resize({name: array.shape for name, array in inputs.items() if array.shape != self._shapes[name]})
        for name, array in inputs.items():
            given = _narrowed(name, array, self._narrow[name]) if name in self._narrow else array
            self._interpreter.set_tensor(self._inputs[name]["index"], given)
        self._interpreter.reset_all_variables()
        self._interpreter.invoke()
        found = {name: self._interpreter.get_tensor(self._outputs[name]["index"]) for name in outputs}
        for name in self._wide.keys() & found.keys():
            found[name] = found[name].astype(self._wide[name])
        return found

    def _resize(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Allocate for other shapes than before; what the model can't take is the request's fault.

        Raises:
            ContractError: `bad-request`.
        """
        if not shapes:
            return
        try:
            for name, shape in shapes.items():
                self._shapes[name] = ()  # whatever comes of it, the next request sets them anew
                self._interpreter.resize_tensor_input(self._inputs[name]["index"], shape)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ContractError("bad-request", f"The model does not take these shapes: {error}.") from error
        self._shapes.update(shapes)


def _signature(interpreter: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs and outputs by the names that the model's one signature gives them; nothing where it has none."""
    keys = list(interpreter.get_signature_list())
    if len(keys) != 1:
        return {}, {}
    runner = interpreter.get_signature_runner(keys[0])
    return runner.get_input_details(), runner.get_output_details()


def _bind(names: list[str], signed: dict[str, Any], details: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    for by_name in (signed, {detail["name"]: detail for detail in details}):
        if all(name in by_name for name in names):
            return {name: by_name[name] for name in names}
    # Converters decorate tensor names ("serving_default_x:0"); then the order binds them.
    return dict(zip(names, details, strict=True))


def _other_width(
    specs: Sequence[TensorSpec], bound: dict[str, dict[str, Any]], choose: Callable[[Any, Any], Any]
) -> dict[str, Any]:
    """Tensors of numbers that the manifest states in another width than the file has: converters make int32 of int64 and
    float32 of float64, and a slot's clients are not to notice which runtime answers them. `choose` says which of both is
    wanted.
    """
    from edgelift_agent.runtime.tensors import NUMPY  # late: brings numpy

    pairs = {spec.name: (NUMPY[spec.dtype], bound[spec.name]["dtype"]) for spec in specs if spec.dtype in NUMPY}
    return {
        name: choose(stated, taken)
        for name, (stated, taken) in pairs.items()
        if stated != taken and (stated.kind in "iu" or (stated.name, taken.__name__) == ("float64", "float32"))
    }


def _narrowed(name: str, array: Any, dtype: Any) -> Any:
    """The same numbers in another width: whole ones exactly, others as near as it has them.

    Raises:
        ContractError: `bad-request` for one that does not fit.
    """
    import numpy as np  # late: only where a request is answered

    with np.errstate(over="ignore"):
        made = array.astype(dtype)
    lost = made != array if array.dtype.kind in "iu" else np.isinf(made) & np.isfinite(array)
    if lost.any():
        raise ContractError("bad-request", f"A number of the input {name!r} does not fit into {dtype.__name__}.")
    return made


def _installed() -> list[tuple[str, str]]:
    versions = {package: version_of(package) for package in _PACKAGES}
    return [(package, version) for package, version in versions.items() if version]
