"""The runtimes that may load a model here, found by looking, loaded only when used.

`available()` is cheap: it reads package versions without importing the packages.
"""

from __future__ import annotations

from edgelift_agent.ports import Runtime
from edgelift_agent.runtime.litert import LiteRtRuntime
from edgelift_agent.runtime.ort import OnnxRuntime
from edgelift_agent.runtime.torchscript import TorchScriptRuntime
from edgelift_contract.errors import DeviceError


def all_runtimes() -> dict[str, Runtime]:
    """Every runtime that edgelift knows, by its manifest name, installed or not."""
    runtimes: list[Runtime] = [OnnxRuntime(), LiteRtRuntime(), TorchScriptRuntime()]
    return {runtime.name: runtime for runtime in runtimes}


def available(runtimes: dict[str, Runtime]) -> dict[str, str]:
    """Name → version of those that are installed."""
    found = {name: runtime.version() for name, runtime in runtimes.items()}
    return {name: version for name, version in found.items() if version}


def pick(runtimes: dict[str, Runtime], name: str) -> Runtime:
    """The runtime of that name.

    Raises:
        DeviceError: `no-runtime`.
    """
    runtime = runtimes.get(name)
    if runtime is None or not runtime.version():
        raise DeviceError("no-runtime", f"The runtime {name} is not installed on this device.")
    return runtime
