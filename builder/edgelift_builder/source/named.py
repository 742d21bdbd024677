"""What a person named as the source: `file.py:function`, or a model file. Nothing is run to find out."""

from __future__ import annotations

import difflib
from pathlib import Path

from edgelift_builder.source.model_file import is_model_file
from edgelift_contract.errors import ContractError


def split_source(text: str) -> tuple[Path, str]:
    """`(file, function)` of `file.py:function`, both known to exist as far as that shows without running it.

    Raises:
        ContractError: `source-missing` or `source-invalid`, naming what is near.
    """
    name, colon, function = text.rpartition(":")
    path = Path(name if colon else text)
    if is_model_file(Path(text)):
        path, function = Path(text), ""
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in _neighbours(path)], n=3)
        raise ContractError("source-missing", f"There is no file {path}.", hint=near_names(near))
    if is_model_file(path):
        return path, function
    if path.suffix != ".py":
        raise ContractError(
            "source-invalid", f"{path.name} is not a Python file.", hint="Name a source as file.py:function."
        )
    if not colon:
        raise ContractError(
            "source-missing",
            f"{text} names no function.",
            hint=f"Write {text}:FUNCTION, the function that returns the Source.",
        )
    return path, function


def _neighbours(path: Path) -> list[Path]:
    return [p for p in path.parent.glob("*") if p.suffix == ".py" or is_model_file(p)]


def near_names(names: list[str]) -> str:
    """A hint of names near to a wrong one; empty when there are none."""
    return f"Did you mean {' or '.join(names)}?" if names else ""
