"""ONNX models through onnxruntime: one session, shared by all threads (`Run` is thread-safe)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgelift_agent.runtime.ort_providers import CPU, Provider, attempts, choose_providers, unused
from edgelift_agent.runtime.packages import version_in, version_of
from edgelift_contract.errors import ContractError, DeviceError
from edgelift_contract.manifest import Manifest, SessionOptions

log = logging.getLogger(__name__)

_LEVELS = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_PACKAGES = ("onnxruntime", "onnxruntime-gpu")


class OnnxRuntime:
    """See `ports.Runtime`."""

    name = "onnxruntime"

    def version(self) -> str | None:
        """See `ports.Runtime`."""
        installed = [version for package in _PACKAGES if (version := version_of(package))]
        if len(installed) > 1:  # both brought one package: its files tell whose they are
            return version_in(self.name) or installed[0]
        return installed[0] if installed else None

    def load(self, folder: Path, manifest: Manifest) -> OnnxModel:
        """See `ports.Runtime`. External weights are found beside the graph and mapped, not copied."""
        try:
            import onnxruntime as ort  # late: an idle agent doesn't pay for it
        except ImportError as error:
            raise DeviceError("no-runtime", f"onnxruntime could not be imported: {error}.") from error
        options = _session_options(ort, manifest.options)
        path = folder / manifest.model_file.path
        chosen = choose_providers(ort.get_available_providers(), folder, manifest)
        try:
            session = _open(ort, path, options, chosen)
        except MemoryError as error:
            raise DeviceError("no-memory", f"There is not enough memory to load {manifest.model}.") from error
        except Exception as error:
            raise ContractError(
                "load-failed",
                f"onnxruntime could not load {manifest.model}@{manifest.version}: {_first_line(error)}.",
            ) from error
        return OnnxModel(session)


def _open(ort: Any, path: Path, options: Any, chosen: list[Provider]) -> Any:
    """A session with the best providers that can be had; the last attempt's error where there is none."""
    tries = attempts(chosen)
    for number, providers in enumerate(tries, start=1):
        try:
            session = ort.InferenceSession(str(path), sess_options=options, providers=providers, enable_fallback=0)
        except MemoryError:
            raise
        except Exception as error:
            if number == len(tries):
                raise
            log.warning("%s cannot run %s here: %s.", providers[0][0], path.parent.name, _first_line(error))
            continue
        for name in unused(providers, session.get_providers()):
            log.warning("%s is there, but could not be loaded; %s goes on without it.", name, path.parent.name)
        return session
    raise AssertionError("there is always the CPU")


class OnnxModel:
    """See `ports.LoadedModel`."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.accelerators = tuple(name for name in session.get_providers() if name != CPU)
        self._outputs = [output.name for output in session.get_outputs()]
        self._takes_text = any(given.type == "tensor(string)" for given in session.get_inputs())
        self._shapes = {given.name: list(given.shape) for given in session.get_inputs()}

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """See `ports.LoadedModel`."""
        names = list(outputs) if outputs else self._outputs
        feed = dict(inputs)
        if self._takes_text:
            feed = {name: _as_text(array) if array.dtype.hasobject else array for name, array in inputs.items()}
        try:
            return dict(zip(names, self._session.run(names, feed), strict=True))
        except Exception:
            check_sizes(self._shapes, inputs)
            raise

    def close(self) -> None:
        """See `ports.LoadedModel`."""
        self._session = None


def check_sizes(shapes: Mapping[str, Sequence[int | str | None]], inputs: Mapping[str, Any]) -> None:
    """After a failed run: were the inputs at fault, in what a manifest doesn't say of them?

    Args:
        shapes: of the model's inputs, by name; a name stands for a size that is the same wherever it stands.
        inputs: what was given.

    Raises:
        ContractError: `bad-request` when one name would stand for two sizes, or an input is empty.
    """
    sizes: dict[str, tuple[int, str]] = {}
    for name, array in inputs.items():
        for size, symbol in zip(array.shape, shapes.get(name, ()), strict=False):
            if size == 0:
                raise ContractError("bad-request", f"The model could not run an empty input {name!r}.")
            if not isinstance(symbol, str):
                continue
            before, where = sizes.setdefault(symbol, (size, name))
            if before != size:
                raise ContractError(
                    "bad-request",
                    f"The inputs do not fit each other: {symbol!r} is {before} in {where!r} and {size} in {name!r}.",
                )


def _as_text(array: Any) -> Any:
    """Onnxruntime takes strings as text; given bytes, it would take their Python notation."""
    text = [item.decode() if isinstance(item, bytes) else item for item in array.ravel()]
    made = array.copy()
    made.ravel()[:] = text
    return made


def _session_options(ort: Any, wanted: SessionOptions) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what fails is raised; a line for each would let clients fill the log
    options.intra_op_num_threads = wanted.threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = wanted.arena
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, _LEVELS[wanted.optimisation])
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if wanted.spinning else "0")
    options.add_session_config_entry("session.disable_prepacking", "0" if wanted.prepacking else "1")
    for key, value in wanted.entries.items():
        options.add_session_config_entry(key, value)
    return options


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
