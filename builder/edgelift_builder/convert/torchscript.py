"""The source as TorchScript, by `torch.jit.script`; kept for devices that have torch and nothing else.

`torch.jit.save` writes the script's absolute path and line numbers into `.debug_pkl` records, and a checksum
over them; the archive's inner folder bears the file's name. `repack` writes the same model without them, so
that equal models give equal bytes and no path travels.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from edgelift_builder.exceptions import summarise
from edgelift_builder.piece import Piece
from edgelift_builder.pipeline import StepContext, StepOutput, check_options, demand, failed, on_step_failure
from edgelift_builder.source.held import module
from edgelift_builder.targets import Target
from edgelift_contract.errors import ContractError

MODEL = "model.pt"
RUNTIME_RANGE = ">=2.1"

#: Tensors begin at multiples of this in the archive, so that they can be memory-mapped (as torch writes them).
ALIGNMENT = 64

_DROPPED = (".debug_pkl", ".data/serialization_id")


class ExportTorchScript:
    """source → TorchScript."""

    name = "export-torchscript"

    def settings(self, options: dict[str, Any], _target: Target) -> dict[str, Any]:
        """No options."""
        return check_options(self.name, options, {})

    def requires(self, piece: Piece) -> None:
        """Only the source can be scripted."""
        demand(self.name, piece, "source")

    def run(self, piece: Piece, _settings: dict[str, Any], context: StepContext, folder: Path) -> StepOutput:
        """Script in the child.

        Raises:
            ContractError: `conversion-failed`.
        """
        context.child.call(export, piece.handle, str(folder / MODEL), on_failure=on_step_failure(self.name))
        return StepOutput(Piece("torchscript", "", folder, ((MODEL, "model"),)), changed=True)

    def ensures(self, _before: Piece, result: StepOutput) -> None:
        """An archive without debug records."""
        check_archive(self.name, result.piece.model_path)


def check_archive(step: str, path: Path) -> None:
    """Refuse an archive that still holds what ties it to a folder.

    Raises:
        ContractError: `step-failed`.
    """
    with zipfile.ZipFile(path) as archive:
        if any(name.endswith(_DROPPED) for name in archive.namelist()):
            raise failed(step, "the archive still holds debug records")


def export(handle: str, path: str) -> None:
    """In the child: script a module; what is TorchScript already is written as it is."""
    script(module(handle), Path(path))


def script(model: Any, path: Path) -> None:
    """Script `model` and write it, path-free, to `path`.

    Raises:
        ContractError: `conversion-failed`.
    """
    import torch

    from edgelift_builder.source import tensors

    try:
        in_order = tensors.in_order(model)
        scripted = (
            torch.jit.script(model)
            if in_order is None
            else torch.jit.trace(in_order, tuple(tensors.example().values()))
        )
    except Exception as error:
        _forget_types()
        raise ContractError(
            "conversion-failed",
            f"The model could not be converted to TorchScript: {summarise(error)}.",
            hint="torch.jit.script takes a part of Python only; leave this format out of the recipe.",
        ) from error
    raw = path.with_suffix(".raw")
    scripted.save(str(raw))
    repack(raw, path)
    raw.unlink()


def _forget_types() -> None:
    """Without what torch knows of classes: half a class is left of one that failed, and the next try, for the next target,
    would fail by that ("Can't redefine method") and not by its own reason.
    """
    from torch.jit import _recursive

    _recursive.concrete_type_store = _recursive.ConcreteTypeStore()


def repack(source: Path, path: Path) -> None:
    """Write the archive `source` to `path`: same records and order, no debug records, one fixed inner folder,
    no times. Law: `torch.jit.load` of both gives the same outputs.
    """
    with zipfile.ZipFile(source) as old, path.open("wb") as file, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            if name.endswith(_DROPPED):
                continue
            info = zipfile.ZipInfo("model/" + name.partition("/")[2])  # its date is 1980-01-01
            if "/data/" in name:
                start = file.tell() + 30 + len(info.filename)  # a local header has 30 bytes, then name and extra
                padding = -(start + 4) % ALIGNMENT
                info.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding  # as torch pads
            with old.open(name) as record, new.open(info, "w") as out:
                while block := record.read(1 << 20):
                    out.write(block)
