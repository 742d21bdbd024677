"""Runs the user's file and calls the function in it. In the child process, never in the builder's own.

`file.py:function` is imported under the file's own name, without its folder: what ends up in an artifact (as
TorchScript's class names) then doesn't depend on where the file lies.
"""

from __future__ import annotations

import importlib.util
import inspect
import random
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edgelift_builder.exceptions import in_short, summarise
from edgelift_builder.source.named import no_function
from edgelift_contract import codec
from edgelift_contract.errors import ContractError, DeviceError


def call(path: Path, function: str) -> Any:
    """What the function in the file returns.

    Raises:
        ContractError: `source-missing` when it is not there, `source-raised` in the exception's words.
    """
    module = _run_file(path)
    maker = getattr(module, function, None)
    if not callable(maker):
        names = [n for n, v in vars(module).items() if inspect.isfunction(v) and v.__module__ == module.__name__]
        raise no_function(path, function, names)
    try:
        return maker()
    except (Exception, SystemExit) as error:
        raise _raised(error, path, f"{function} in {path.name}") from error


def code_digest(path: Path) -> str:
    """Digest of every file beside the source that it has imported: its training may live there."""
    home = path.resolve().parent
    named = [getattr(m, "__file__", None) for m in list(sys.modules.values())]
    # torch's made-up modules name files that are not there (`_classes.py`): only what can be read counts.
    files = {path for path in (Path(name).resolve() for name in named if name) if path.is_file()}
    mine = sorted(f for f in files if home in f.parents and f.suffix == ".py" and "site-packages" not in f.parts)
    return codec.digest("".join(f"{f.relative_to(home)} {codec.digest(f.read_bytes())}" for f in mine).encode())


def seed() -> None:
    """Every random generator that user code may draw from starts at 0.

    Raises:
        ContractError: `tool-missing` without torch.
        DeviceError: `no-memory`, `load-failed` where its libraries can't be loaded.
    """
    random.seed(0)
    np.random.seed(0)  # user code may draw from the old global generator
    try:
        import torch
    except ModuleNotFoundError as error:
        hint = "Install edgelift's wheel with the extra [builder]."
        raise ContractError("tool-missing", f"{error.name} is not installed.", hint=hint) from error
    except ImportError as error:  # it is there: its libraries can't be loaded, as where memory is short
        code = "no-memory" if re.search("memory|map segment", str(error)) else "load-failed"
        raise DeviceError(code, f"torch cannot be loaded: {in_short(str(error))}.") from error
    torch.manual_seed(0)


def _run_file(path: Path) -> ModuleType:
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # its own neighbours, as `python file.py` would find them
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ContractError("source-invalid", f"{path.name} cannot be read as Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _raised(error, path, path.name) from error
    return module


def _raised(error: BaseException, path: Path, what: str) -> ContractError:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).name == path.name]
    if isinstance(error, SyntaxError):
        where = f" at line {error.lineno}"
    else:
        where = f" at line {frames[-1].lineno}: {frames[-1].line}" if frames else ""
    hint = f"It happened in {path.name}{where}. Run again with --debug for the whole traceback."
    return ContractError("source-raised", f"{what} raised {summarise(error, with_paths=True)}.", hint=hint)
