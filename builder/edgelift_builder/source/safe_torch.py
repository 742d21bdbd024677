"""Tells what a torch file is before anything opens it, and refuses what could run code.

A `.pt` may be TorchScript (its own, restricted unpickler), a state dict (`weights_only`), or a pickle of any
Python object, which runs whatever code its author liked as it is opened. A `.pt2` (torch.export) holds graphs as
JSON, but may hold pickles for tensors that have no plain form, and writes symbolic sizes as text that sympy
evaluates; both are looked at here first, because `torch.export.load` would trust them.

Nothing in this module opens a pickle except through `torch.load(weights_only=True)`.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from edgelift_contract.errors import ContractError

#: What torch writes into symbolic sizes: symbols, sympy's and torch's own functions, numbers, arithmetic.
_NAMES = re.compile(
    r"(s|u|zuf|zf)\d+|Max|Min|FloorDiv|CeilDiv|CleanDiv|Mod|PythonMod|ModularIndexing|Where|TruncToInt|IntTrueDiv|"
    r"FloatTrueDiv|CeilToInt|FloorToInt|RoundToInt|ToFloat|Identity|PowByNatural|FloatPow|LShift|RShift|"
    r"Add|Mul|Pow|Rational|positive|nonnegative|integer|Eq|Ne|Lt|Le|Gt|Ge|And|Or|Not|Integer|Float|Symbol|oo|int_oo|True|False|true|false"
)
_PLAIN = re.compile(r"[\w\s'+\-*/(),.<>=&|~%]*")


def kind_of(path: Path) -> Literal["torchscript"]:
    """Refuse a `.pt` that is not TorchScript, saying what it is.

    Raises:
        ContractError: `source-invalid` for weights alone or no torch file, `unsafe-file` for a pickle with code.
    """
    names = _records(path)
    if any(name.endswith("/constants.pkl") for name in names):
        return "torchscript"
    import torch

    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if not _is_pickle(path, names):
            raise ContractError(
                "source-invalid", f"{path.name} is not a file that torch writes.", hint="Name a TorchScript file."
            ) from error
        raise unsafe(path, "it is a pickle of Python objects, not of weights alone") from error
    raise weights_alone(path)


def weights_alone(path: Path) -> ContractError:
    """Weights belong to a model, and the file does not say to which."""
    return ContractError(
        "source-invalid",
        f"{path.name} holds weights but not the model they belong to.",
        hint="Write a file with a function that builds the model, loads these weights into it and returns a "
        "Source, and name it file.py:function.",
    )


def unsafe(path: Path, reason: str) -> ContractError:
    """A file that was not opened."""
    return ContractError(
        "unsafe-file",
        f"{path.name} was not opened: {reason}, and opening it could run code.",
        hint="Save the model with torch.jit.save(torch.jit.script(model), file), torch.export.save, or as ONNX.",
    )


def check_program(path: Path) -> None:
    """Refuse a `.pt2` in which anything could run code.

    Raises:
        ContractError: `unsafe-file`, or `source-invalid` when it is no such archive.
    """
    names = _records(path)
    if not any(name.endswith("archive_format") for name in names):
        raise ContractError(
            "source-invalid",
            f"{path.name} is not an archive of torch.export.",
            hint="Save it with torch.export.save of torch 2.8 or later.",
        )
    with zipfile.ZipFile(path) as archive:
        configs = [json.loads(archive.read(n)) for n in names if n.endswith("_config.json")]
        pickled = {name for config in configs for name in _pickled(config)}
        for name in names:
            last = name.rpartition("/")[2]
            if last.startswith("custom_obj") or last.endswith((".so", ".pkl")):
                raise unsafe(path, f"it holds {last}, an object that is more than a tensor")
            if last in pickled or "/sample_inputs/" in name:
                _check_tensors(path, archive.read(name), last)
            elif last.endswith(".json"):
                _check_expressions(path, json.loads(archive.read(name)))


def _check_tensors(path: Path, data: bytes, name: str) -> None:
    import torch

    try:
        torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        raise unsafe(path, f"its record {name} is a pickle of more than tensors") from error


def _check_expressions(path: Path, value: Any) -> None:
    for text in _expressions(value):
        words = re.findall(r"[A-Za-z_]\w*", text)
        if not _PLAIN.fullmatch(text) or not all(_NAMES.fullmatch(word) for word in words):
            raise unsafe(path, f"it holds the size {text[:40]!r}, which is no arithmetic")


def _expressions(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, part in value.items():
            if key == "expr_str" and isinstance(part, str):
                yield part
            else:
                yield from _expressions(part)
    elif isinstance(value, list):
        for part in value:
            yield from _expressions(part)


def _pickled(value: Any) -> Iterator[str]:
    """Names of the records that a configuration marks as pickles."""
    if isinstance(value, dict):
        if value.get("use_pickle") and isinstance(value.get("path_name"), str):
            yield value["path_name"].rpartition("/")[2]
        for part in value.values():
            yield from _pickled(part)


def _records(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except zipfile.BadZipFile:
        return []


def _is_pickle(path: Path, names: list[str]) -> bool:
    with path.open("rb") as file:
        first = file.read(1)
    return first == b"\x80" or any(name.endswith("data.pkl") for name in names)
