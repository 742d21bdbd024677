"""What a person named as the source: `file.py:function`, or a model file. Nothing is run to find out.

A function's name is looked for by parsing the file: running it may take seconds (it imports torch) or hours, and a typo
should not wait for that.
"""

from __future__ import annotations

import ast
import difflib
import warnings
from pathlib import Path

from edgelift_builder.source.model_file import is_model_file
from edgelift_contract.errors import ContractError


def split_source(text: str) -> tuple[Path, str]:
    """`(file, function)` of `file.py:function`, both known to exist as far as that shows without running it; the
    function is empty for a model file.

    Raises:
        ContractError: `source-missing`, `source-invalid` or, for a syntax error, `source-raised`.
    """
    name, colon, function = text.rpartition(":")
    path = Path(name if colon else text)
    if is_model_file(Path(text)):
        path, function = Path(text), ""
    _check_file(path)
    if is_model_file(path):
        return path, function
    if not colon:
        raise ContractError(
            "source-missing",
            f"{text} names no function.",
            hint=f"Write {text}:FUNCTION, the function that returns the Source.",
        )
    check_function(path, function)
    return path, function


def check_data(text: str) -> None:
    """Refuse a `--data` that can be seen to be wrong: neither a file that is there nor a function in one.

    Raises:
        ContractError: as `split_source`.
    """
    name, colon, function = text.rpartition(":")
    if not text:
        return
    if text.endswith(".npz"):
        if not Path(text).is_file():
            raise ContractError("source-missing", f"There is no file {text}.")
    elif colon:
        _check_file(Path(name))
        check_function(Path(name), function)
    else:
        raise ContractError(
            "source-missing",
            f"{text} is neither an .npz file nor a function.",
            hint="Write FILE.py:FUNCTION.",
        )


def _check_file(path: Path) -> None:
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in _neighbours(path)], n=3)
        raise ContractError("source-missing", f"There is no file {path}.", hint=near_names(near))
    if not is_model_file(path) and path.suffix != ".py":
        raise ContractError(
            "source-invalid", f"{path.name} is not a Python file.", hint="Name a source as file.py:function."
        )


def _neighbours(path: Path) -> list[Path]:
    return [p for p in path.parent.glob("*") if p.suffix == ".py" or is_model_file(p)]


def check_function(path: Path, function: str) -> None:
    """Refuse a name that the file neither defines nor imports at its top level. A file that may make names while it
    runs (`import *`, `globals()`, `exec`, a module's `__getattr__`) is not refused here: running it will tell.

    Raises:
        ContractError: `source-missing` with names that are near; `source-raised` for a syntax error.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # whoever runs the file hears of them
            tree = ast.parse(path.read_bytes(), filename=path.name)
    except (SyntaxError, ValueError) as error:
        where = f" at line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ContractError(
            "source-raised",
            f"{path.name} raised {type(error).__name__}: {said}.",
            hint=f"It happened in {path.name}{where}.",
        ) from error
    found = _Names()
    try:
        found.visit(tree)
    except RecursionError:  # an expression of a thousand terms: Python runs it, and that will tell
        return
    if function in found.names or found.open_ended:
        return
    raise no_function(path, function, found.functions)


def no_function(path: Path, function: str, functions: list[str]) -> ContractError:
    """The error for a name that is not there, with the nearest of those that are, else all public ones."""
    near = difflib.get_close_matches(function, functions, n=3) or [n for n in functions if not n.startswith("_")]
    return ContractError("source-missing", f"{path.name} has no function {function!r}.", hint=near_names(near))


class _Names(ast.NodeVisitor):
    """Names that a module binds at its top level, whatever branch, loop or `with` they stand in."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.functions: list[str] = []
        self.open_ended = False

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        self.names.add(node.name)
        if not isinstance(node, ast.ClassDef):
            self.functions.append(node.name)
        self.open_ended |= node.name == "__getattr__"
        self._look_inside(node)

    visit_AsyncFunctionDef = visit_ClassDef = visit_FunctionDef  # noqa: N815 - as ast names its methods

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._look_inside(node)

    def _look_inside(self, node: ast.AST) -> None:
        """What is bound in there stays there, but for `global`."""
        for inner in ast.walk(node):
            if isinstance(inner, ast.Global):
                self.names.update(inner.names)
            elif isinstance(inner, ast.Name | ast.Attribute):
                self._note_use(inner.id if isinstance(inner, ast.Name) else inner.attr)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            self.open_ended |= alias.name == "*"
            self.names.add(alias.asname or alias.name.partition(".")[0])

    visit_ImportFrom = visit_Import  # noqa: N815 - as ast names its methods

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self.names.add(node.id)
        self._note_use(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._note_use(node.attr)
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        self.names.update([node.name] if node.name else [])
        self.generic_visit(node)

    def _note_use(self, name: str) -> None:
        self.open_ended |= name in ("globals", "locals", "vars", "exec", "setattr", "__dict__", "modules")


def near_names(names: list[str]) -> str:
    """A hint of names near to a wrong one; empty when there are none."""
    return f"Did you mean {' or '.join(names)}?" if names else ""
