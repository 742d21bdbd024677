"""The source as TorchScript, by `torch.jit.script`; kept for devices that have torch and nothing else.

`torch.jit.save` writes the script's absolute path and line numbers into `.debug_pkl` records, and a checksum
over them; the archive's inner folder bears the file's name. `repack` writes the same model without them, so
that equal models give equal bytes and no path travels.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from edgelift_builder.convert.script_refusal import explain
from edgelift_builder.piece import Piece
from edgelift_builder.pipeline import StepContext, StepOutput, check_options, demand, failed, on_step_failure
from edgelift_builder.source.held import example, module
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
        kind = context.child.call(
            export, piece.handle, str(folder / MODEL), context.facts.batch_free,
            on_failure=on_step_failure(self.name),
        )  # fmt: skip
        precision = "int8" if context.facts.quantised else kind
        return StepOutput(Piece("torchscript", "", folder, ((MODEL, "model"),), precision), changed=True)

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


def export(handle: str, path: str, batch_free: bool) -> str:
    """In the child: script a module; what is TorchScript already is written as it is. Return which floats it is in."""
    from edgelift_builder.convert import float_kind

    model = module(handle)
    script(model, Path(path), batch_free=batch_free)
    return float_kind.of_module(model)


def script(model: Any, path: Path, *, batch_free: bool = False) -> None:
    """Make TorchScript of `model` and write it, path-free, to `path`.

    Args:
        model: a module that takes the source's inputs.
        path: of the file to write.
        batch_free: must it take several samples at once.

    Raises:
        ContractError: `conversion-failed`.
    """
    from edgelift_builder.source import precision, tensors

    plain = tensors.by_position(model) is model and not precision.autocast_met()
    made = _scripted(model) if plain else _traced(model, batch_free=batch_free)
    raw = path.with_suffix(".raw")
    try:
        made.save(str(raw))
    except Exception as error:
        raise explain(error, "written") from error
    repack(raw, path)
    raw.unlink()


def _scripted(model: Any) -> Any:
    import torch

    if hasattr(model, "apart"):  # it has what no script has; what is inside may well become one
        return model.around(_scripted(model.model))
    from edgelift_builder.source import precision

    if precision.autocast_met():
        raise ContractError("conversion-failed", "A script would compute under torch.autocast, which is left off.")
    try:
        with precision.autocast_as_it_is():
            return torch.jit.script(model)
    except Exception as error:
        _forget_types()
        raise explain(error, "scripted") from error


def _traced(model: Any, *, batch_free: bool) -> Any:
    """A trace of what a script cannot be: it takes its inputs by position and answers with a row of tensors, where the model
    takes or gives names, or turns autocast on. Inside is a script where there is one, whose branches stay what they are.
    """
    import torch

    from edgelift_builder.source import tensors

    try:
        inside = [_scripted(model), model]
    except ContractError:
        inside = [model]
    example = tuple(tensors.example().values())
    for one in inside:
        try:
            made = torch.jit.trace(tensors.by_position(one), example)
        except Exception as error:
            if one is model:
                raise explain(error, "traced") from error
            continue
        if batch_free:
            _check_batch(made, tensors.by_position(model))
        return made
    raise AssertionError("the model itself is the last")


def _check_batch(made: Any, model: Any) -> None:
    """Refuse a trace that the number of samples was written into.

    Raises:
        ContractError: `conversion-failed`.
    """
    import torch

    from edgelift_builder.source import tensors

    _, axes = example()
    both = [t if (k := axes.get(n, 0)) is None else torch.cat([t, t], k) for n, t in tensors.example().items()]
    with torch.no_grad():
        wanted = model(*both)
        try:
            found = made(*both)
        except Exception:  # noqa: BLE001 - whatever torch raises for shapes that don't fit
            found = ()
    rows = [[answer] if isinstance(answer, torch.Tensor) else answer for answer in (found, wanted)]
    if len(rows[0]) != len(rows[1]) or not all(map(_alike, *rows)):
        raise ContractError(
            "conversion-failed",
            "The model could not be traced for TorchScript: the trace has the example's number of samples written into it.",
            hint="Use x.shape[0] and sizes taken from x in place of numbers written into forward, or ship ONNX.",
        )


def _alike(one: Any, other: Any) -> bool:
    import torch

    return one.shape == other.shape and bool(
        torch.allclose(one.float(), other.float(), 1e-3, 1e-4, equal_nan=True)
    )


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
