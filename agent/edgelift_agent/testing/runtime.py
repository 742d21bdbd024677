"""A runtime whose "model" is a JSON file that says how to behave: y = x · scale + offset, or worse.

It stands in for `onnxruntime` under that name, so that manifests stay valid where no real runtime is
installed. Its misbehaviour is real: `crash` ends the process by a signal, `hang` sleeps, `leak_mb` allocates.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import Manifest

Misbehaviour = Literal["", "crash", "hang", "fail", "nan"]


class ToyModelFile(msgspec.Struct, forbid_unknown_fields=True):
    """What the model file says.

    Attributes:
        scale, offset: y = x · scale + offset.
        on_load, on_run: misbehave then.
        after: run normally this many times before `on_run` applies.
        delay_ms: how long a run takes.
        leak_mb: memory that loading takes.
        only_in_service: misbehave only in a process other than a preflight child.
    """

    scale: float = 1.0
    offset: float = 0.0
    on_load: Misbehaviour = ""
    on_run: Misbehaviour = ""
    after: int = 0
    delay_ms: float = 0.0
    leak_mb: int = 0
    only_in_service: bool = False


class ToyRuntime:
    """See `ports.Runtime`."""

    name = "onnxruntime"

    def __init__(self, *, in_preflight: bool = False) -> None:
        self._in_preflight = in_preflight

    def version(self) -> str | None:
        """See `ports.Runtime`."""
        return "1.99.0"

    def load(self, folder: Path, manifest: Manifest) -> ToyModel:
        """See `ports.Runtime`."""
        data = (folder / manifest.model_file.path).read_bytes()
        try:
            file = msgspec.json.decode(data.split(b"\n", 1)[0], type=ToyModelFile)
        except msgspec.MsgspecError as error:
            raise ContractError("load-failed", f"The toy model can't be read: {error}.") from error
        if self._in_preflight and file.only_in_service:
            file.on_load = file.on_run = ""
        _misbehave(file.on_load, "load")
        return ToyModel(file, [spec.name for spec in manifest.inputs], [spec.name for spec in manifest.outputs])


class ToyModel:
    """See `ports.LoadedModel`."""

    accelerators = ()

    def __init__(self, file: ToyModelFile, inputs: list[str], outputs: list[str]) -> None:
        self._file, self._input, self._outputs = file, inputs[0], outputs
        self._runs = 0
        self._ballast = b"\1" * (file.leak_mb << 20)
        self.closed = False

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """See `ports.LoadedModel`."""
        if self.closed:
            raise RuntimeError("run after close")
        self._runs += 1
        if self._file.delay_ms:
            time.sleep(self._file.delay_ms / 1000)
        if self._runs > self._file.after:
            _misbehave(self._file.on_run, "run")
        y = inputs[self._input].astype(np.float32) * np.float32(self._file.scale) + np.float32(self._file.offset)
        if self._file.on_run == "nan":
            y = y * np.float32("nan")
        return dict.fromkeys(outputs or self._outputs, y)

    def close(self) -> None:
        """See `ports.LoadedModel`."""
        self.closed = True
        self._ballast = b""


def _misbehave(how: Misbehaviour, where: str) -> None:
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif how == "hang":
        time.sleep(3600)
    elif how == "fail":
        raise RuntimeError(f"the toy model fails on {where}")
