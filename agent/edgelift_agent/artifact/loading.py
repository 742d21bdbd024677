"""From a staged artifact to a generation that may be swapped in: load, then warm up with its own goldens.

Warming runs the goldens' inputs, so that the first real request doesn't pay for lazy allocation; their
outputs were judged in preflight and are judged once more here, in the process that will serve.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgelift_agent.artifact.store import Store
from edgelift_agent.ports import LoadedModel, Runtime
from edgelift_contract.errors import ContractError, DeviceError
from edgelift_contract.golden import parse_goldens, tolerance_key
from edgelift_contract.manifest import Manifest


@dataclass(frozen=True)
class Loaded:
    """A model in memory and how it got there; times in milliseconds."""

    manifest: Manifest
    model: LoadedModel
    load_ms: float
    warm_ms: float
    golden_max_error: float


class Loader:
    """Loads staged artifacts."""

    def __init__(self, store: Store, runtimes: Mapping[str, Runtime], kernels: str) -> None:
        self._store, self._runtimes, self._kernels = store, runtimes, kernels
        self._imported: set[str] = set()
        #: Called when a runtime has loaded its first model, and with that everything it imports.
        self.on_first_load: Callable[[], None] = lambda: None

    def load(self, artifact: str) -> Loaded:
        """Load and warm up.

        Raises:
            ContractError: `load-failed`, `golden-mismatch`, `missing-blob`, `digest-mismatch`.
            DeviceError: `no-runtime`, `no-memory`.
        """
        manifest = self._store.manifest(artifact)
        runtime = self._runtimes.get(manifest.runtime)
        version = runtime.version() if runtime else None
        if runtime is None or version is None:
            raise DeviceError("no-runtime", f"The runtime {manifest.runtime} is not installed on this device.")
        folder = self._store.folder(artifact)
        started = time.perf_counter()
        model = runtime.load(folder, manifest)
        loaded = time.perf_counter()
        try:
            error = self._warm(model, folder, manifest, version)
        except BaseException:
            model.close()
            raise
        warmed = time.perf_counter()
        if manifest.runtime not in self._imported:
            self._imported.add(manifest.runtime)
            self.on_first_load()
        return Loaded(manifest, model, (loaded - started) * 1000, (warmed - loaded) * 1000, error)

    def _warm(self, model: LoadedModel, folder: Path, manifest: Manifest, version: str) -> float:
        from edgelift_agent.artifact.goldens import check_goldens  # late: brings numpy

        try:
            data = (folder / manifest.goldens.path).read_bytes()
        except FileNotFoundError as error:
            raise ContractError(
                "missing-blob", f"The goldens of {manifest.model} could not be read: {error}."
            ) from error
        key = tolerance_key(self._kernels, manifest.runtime, version, manifest.options)
        return check_goldens(model, parse_goldens(data), manifest.goldens.tolerance, key=key)
