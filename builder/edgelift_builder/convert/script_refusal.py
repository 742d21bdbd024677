"""Why torch could not make TorchScript of a module: at which line of whose file, what it lacks, and the way on.

torch tells it over dozens of lines, the first of which often ends in the middle of a sentence; what it says of the place is
taken from there. Messages: torch/jit/frontend.py, torch/jit/_recursive.py, torch/csrc/jit/frontend (torch 2.13).
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import NamedTuple

from edgelift_builder.exceptions import in_short
from edgelift_contract.errors import ContractError


class _Known(NamedTuple):
    """What torch says, the same in a sentence (`{0}` … are the pattern's groups), and what to do about it."""

    pattern: str
    reason: str
    hint: str


_OTHERWISE = (
    "Or leave TorchScript out of the recipe: ONNX and TFLite are made another way and may well take the model."
)
_KNOWN = (
    _Known(
        r"[Pp]ython value of type '([\w.]+)' cannot be used as a value",
        "a name there stands for Python's {0}, which is no argument and no attribute of the module",
        "Make what the line reads from outside (a global, a closure's variable) an attribute, set in __init__.",
    ),
    _Known(
        r"Compiled functions can't take variable number of arguments",
        "it takes *args, **kwargs or an argument by name alone with a default, which no script does",
        "Name the arguments one by one in forward, each with its type where that is not Tensor.",
    ),
    _Known(
        r"([\w ]+?) (?:without assigned value )?aren't supported",
        "TorchScript has no {0}",
        "Write the line without that.",
    ),
    _Known(
        r"[Mm]odule '(\w+)' has no attribute '(\w+)'.*?convert Python type: '(.+?)' to a TorchScript type",
        "the attribute {1} of {0} is a Python {2}, which TorchScript has no type for",
        "Keep there what TorchScript has types for: tensors, numbers, text, lists and dicts of one type, modules.",
    ),
    _Known(
        r"[Mm]odule '(\w+)' has no attribute '(\w+)'",
        "{0} has no attribute {1} that is part of the script",
        "Set it in __init__ to what TorchScript has a type for: a tensor, a number, a module.",
    ),
    _Known(
        r"Can't get source for|[Cc]ould not get source|Expected a single top-level function",
        "the source code of what is to be scripted is not in a file of its own, and a script is made from source code",
        "Define the module in a file, as a class with a plain forward; not in a string, a notebook's cell or a lambda.",
    ),
    _Known(
        r"Could not export Python function call '(\w+)'",
        "it calls the Python function {0}, which cannot be written into a script",
        "Write what it does with torch's own functions, or leave TorchScript out of the recipe.",
    ),
    _Known(
        r"Unknown type name '([\w.]+)'|Unknown type annotation: '([^']+)'",
        "the annotation {0} names a type that TorchScript does not know",
        "Annotate with Tensor, int, float, bool, str, or List, Dict, Tuple and Optional of these.",
    ),
    _Known(
        r"Arguments for call are not valid|[Ee]xpected a value of type '.+?' for argument|object has no attribute or method",
        "a value has another type there than TorchScript takes it for; what is not annotated is taken for a Tensor",
        "Annotate the arguments and results of your functions that are no tensors (x: int, y: Optional[Tensor]).",
    ),
    _Known(
        r"Tensor cannot be used as a tuple",
        "a tensor is taken apart there into several names, and a script does not know how many there are",
        "Write `a, b = x.unbind(0)`.",
    ),
    _Known(
        r'Expected a default value of type \w+ \(inferred\) on parameter "(\w+)"',
        "its argument {0} has a default that is no tensor, and no type",
        "Annotate it with its type: `{0}: bool = False`, `{0}: Optional[Tensor] = None`.",
    ),
    _Known(
        r"expected type comment but found",
        "a comment in it that begins with `type:`, as `type: ignore[…]`, is read as the types of its arguments",
        "Take that comment out of the function, or write `type: ignore` alone.",
    ),
    _Known(
        r"Expected integer literal for index",
        "a ModuleList is indexed there by a variable, and TorchScript takes only a number that is written out",
        "Go through the list with `for layer in self.layers`, or index it with a written number.",
    ),
)  # fmt: skip


def explain(error: BaseException, doing: str = "scripted") -> ContractError:
    """What torch raised as `conversion-failed`: the place, the reason, the way on.

    Args:
        error: what torch raised.
        doing: what could not be done to the model: `scripted`, `traced`, `quantised`, `written`.
    """
    text = str(error)
    reason, hint = _reason(text, type(error).__name__)
    place = _place(text)
    where = f" at {place}" if place else ""
    return ContractError(
        "conversion-failed",
        f"The model could not be {doing} for TorchScript{where}: {reason}.",
        hint=f"{hint} {_OTHERWISE}",
    )


def _reason(text: str, kind: str) -> tuple[str, str]:
    # The innermost error comes first; those behind it are of whoever called it.
    first = text.split("is being compiled since it was called from")[0]
    for known in _KNOWN:
        found = re.search(known.pattern, first, re.DOTALL)
        if found:
            groups = [group for group in found.groups() if group is not None]
            return known.reason.format(*groups, *("it", "it")), known.hint.format(*groups)
    said = in_short(text)
    return (f"{kind}: {said}" if said else kind), "Change what torch names there; --debug shows all it says."


def _place(text: str) -> str:
    """`line 12 of net.py, `return x * TIMES``, the innermost line that is not torch's own; empty where none is told."""
    for found in re.finditer(r'File "([^"]+)", line (\d+)(.*?)(?=\n\s*File "|\Z)', text, re.DOTALL):
        path = PurePath(found[1])
        if "site-packages" in path.parts or "torch" in path.parts:
            continue
        code = re.search(r"\n([^\n]+)\n[ ~]*~+[^\n]*<--- HERE", found[3])
        return f"line {found[2]} of {path.name}" + (f", `{code[1].strip()[:80]}`" if code else "")
    return ""
