"""Models that come as files: ONNX (also with external data), TFLite, TorchScript, `torch.export` archives.

A file brings no data and no training; `--data` names them (see `file_data`). What torch can open becomes a module
like any other; ONNX and TFLite stay files and are run by their runtimes, so that the reference is the model's
own answer and not a translation's.

Everything here treats the file as hostile: nothing in it is run as Python, no path in it leaves its folder.
"""

from __future__ import annotations

import hashlib
import inspect
import warnings
from pathlib import Path
from typing import Any

from edgelift_builder.exceptions import summarise
from edgelift_builder.source import safe_torch
from edgelift_builder.source.file_model import Port
from edgelift_builder.source.onnx_file import external_files, open_onnx
from edgelift_builder.source.tflite_file import open_tflite
from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import Format

SUFFIXES = (".onnx", ".tflite", ".pt2", ".pt", ".pth", ".ckpt", ".safetensors", ".bin")

#: Weights alone, whatever is in them.
_ONLY_WEIGHTS = (".safetensors", ".bin", ".ckpt")

#: What each kind of file can become; what is not listed has no converter that could be trusted with it.
FORMATS: dict[str, tuple[Format, ...]] = {
    ".onnx": ("onnx",),
    ".tflite": ("tflite",),
    ".pt2": ("onnx", "tflite"),
    ".pt": ("torchscript",),
    ".pth": ("torchscript",),
}


#: What `precision.to_float32` makes of a module's parameters, its inputs are, too.
_FLOAT32 = {"torch.bfloat16": "float32", "torch.float64": "float32"}


def is_model_file(path: Path) -> bool:
    """Is this the name of a model rather than of code."""
    return path.suffix in SUFFIXES


def open_model(path: Path, folder: Path, remarks: list[str]) -> tuple[Any, list[Port]]:
    """The model in a file, and its inputs as far as the file tells.

    Args:
        path: the file.
        folder: where a copy may be written that differs from it.
        remarks: for people, to be added to.

    Returns:
        A torch module in evaluation mode, or a `FileModel`.

    Raises:
        ContractError: `source-invalid`, `unsafe-file`, `bad-path`, `unsupported-operator` or `load-failed`.
    """
    if path.suffix in _ONLY_WEIGHTS:
        raise safe_torch.weights_alone(path)
    if path.suffix == ".onnx":
        model = open_onnx(path, folder, remarks)
        return model, model.ports
    if path.suffix == ".tflite":
        model = open_tflite(path, folder, remarks)
        return model, model.ports
    return _open_program(path) if path.suffix == ".pt2" else (_open_script(path), [])


def digest(path: Path) -> str:
    """SHA-256 over a model file and, for ONNX, the files beside it that hold its weights."""
    sha = hashlib.sha256()
    for part in (path, *(external_files(path) if path.suffix == ".onnx" else ())):
        with part.open("rb") as file:
            while block := file.read(1 << 20):
                sha.update(block)
    return sha.hexdigest()


def _open_program(path: Path) -> tuple[Any, list[Port]]:
    import torch

    safe_torch.check_program(path)
    with warnings.catch_warnings():  # that this part of torch moves to another package
        warnings.simplefilter("ignore")
        # A quantised program calls operators that torch knows only once this is loaded.
        import torch.ao.quantization.fx._decomposed
    try:
        program = torch.export.load(path)
    except Exception as error:
        raise ContractError(
            "source-invalid", f"torch.export cannot read {path.name}: {summarise(error)}."
        ) from error
    module = program.module(check_guards=False)
    _check_flat(module, path)
    _check_given(program, path)
    given = program.graph_signature.user_inputs
    named = dict(zip(given, _placeholders(program), strict=False))
    ports = [
        Port(
            name,
            _FLOAT32.get(str(value.dtype), str(value.dtype).removeprefix("torch.")),
            tuple(n if isinstance(n, int) else None for n in value.shape),
        )
        for name, value in named.items()
    ]
    module.training = False  # dropout and the like were fixed when it was exported; its eval() only raises
    return module, ports


def _check_flat(module: Any, path: Path) -> None:
    """Refuse a program that takes tensors inside of dicts or lists: requests have a name for each.

    Raises:
        ContractError: `source-invalid`.
    """
    listed, named = module._in_spec.children()
    places = inspect.signature(module.forward).parameters
    inside = [
        name
        for name, spec in (
            *zip(places, listed.children(), strict=False),
            *zip(named.context, named.children(), strict=True),
        )
        if not spec.is_leaf() and spec.num_leaves
    ]
    if inside:
        raise ContractError(
            "source-invalid",
            f"{path.name} takes tensors inside of {', '.join(inside)}, a dict or a list; requests name each.",
            hint="Export a module whose forward has a parameter for each tensor.",
        )


def _check_given(program: Any, path: Path) -> None:
    """Refuse a program that was exported with None, or a number, in the place of a tensor: it takes nothing else there.

    Raises:
        ContractError: `source-invalid`.
    """
    fixed = [
        spec.arg.name
        for spec in program.graph_signature.input_specs
        if spec.kind.name == "USER_INPUT" and hasattr(spec.arg, "value")
    ]
    if fixed:
        raise ContractError(
            "source-invalid",
            f"{path.name} was exported with None or a constant for {', '.join(fixed)}, and takes nothing else there.",
            hint="Export it with its tensors alone: by name (`kwargs=`) where one before them is left out.",
        )


def _placeholders(program: Any) -> list[Any]:
    wanted = set(program.graph_signature.user_inputs)
    return [n.meta["val"] for n in program.graph.nodes if n.op == "placeholder" and n.name in wanted]


def _open_script(path: Path) -> Any:
    import torch

    safe_torch.kind_of(path)
    try:
        script = torch.jit.load(str(path), map_location="cpu").eval()
    except Exception as error:
        raise ContractError(
            "source-invalid", f"{path.name} is not a TorchScript model: {summarise(error)}."
        ) from error
    if not hasattr(script, "forward"):
        raise ContractError(
            "source-invalid",
            f"{path.name} has no forward, which is what a device would call.",
            hint="Script a module of your own around it, whose forward takes and returns tensors.",
        )
    return script
