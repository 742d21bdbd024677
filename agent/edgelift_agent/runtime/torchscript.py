"""TorchScript models, where torch is installed: a legacy format, served but not recommended.

The only module of the agent that may import torch, and only when such a model is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgelift_agent.runtime.packages import version_of
from edgelift_contract.errors import ContractError, DeviceError
from edgelift_contract.manifest import Manifest


class TorchScriptRuntime:
    """See `ports.Runtime`."""

    name = "torchscript"

    def version(self) -> str | None:
        """See `ports.Runtime`."""
        version = version_of("torch")
        return version.partition("+")[0] if version else None

    def load(self, folder: Path, manifest: Manifest) -> TorchScriptModel:
        """See `ports.Runtime`."""
        try:
            import torch  # late: hundreds of megabytes: only for this format
        except ImportError as error:
            raise DeviceError("no-runtime", f"torch could not be imported: {error}.") from error
        try:
            module = torch.jit.load(str(folder / manifest.model_file.path), map_location="cpu").eval()
        except (RuntimeError, ValueError) as error:
            raise ContractError(
                "load-failed",
                f"torch could not load {manifest.model}@{manifest.version}: {str(error).splitlines()[0]}.",
            ) from error
        return TorchScriptModel(torch, module, manifest)


class TorchScriptModel:
    """See `ports.LoadedModel`. Inputs are positional, in the manifest's order."""

    accelerators = ()

    def __init__(self, torch: Any, module: Any, manifest: Manifest) -> None:
        self._torch, self._module = torch, module
        self._inputs = [spec.name for spec in manifest.inputs]
        self._outputs = [spec.name for spec in manifest.outputs]

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """See `ports.LoadedModel`."""
        torch = self._torch
        with torch.inference_mode():
            # Arrays that came over the wire are read-only, which torch warns of: give it its own.
            result = self._module(*(torch.from_numpy(inputs[name].copy()) for name in self._inputs))
        results = result if isinstance(result, tuple | list) else (result,)
        arrays = {name: tensor.numpy(force=True) for name, tensor in zip(self._outputs, results, strict=True)}
        return {name: arrays[name] for name in outputs} if outputs else arrays

    def close(self) -> None:
        """See `ports.LoadedModel`."""
        self._module = None
