"""What is to be built, as a person asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgelift_contract.errors import ContractError
from edgelift_contract.ids import LARGEST_COUNT, parse_release

DEFAULT_TIMEOUT_S = 600.0

#: Points, or per cent.
LARGEST_BUDGET = 100.0


@dataclass(frozen=True)
class Request:
    """What to build.

    Attributes:
        source: `file.py:function`, or a model file.
        data: what judges a model file: `file.py:function` or an `.npz`; see `file_data`.
        targets, recipe: by name, or the path of a TOML file.
        version: of the release; counter: its number, needed where the version is none.
        model: instead of the source's own name.
        out: the release folder; `releases/<model>@<version>` when None.
        budget: most that a variant may lose against float of the first metric, in its unit; the recipe's when None.
        budgets: the same of other metrics, by name, as the report has them.
        emulate: run ARM artifacts on their target's emulated processor.
        search_s: how long to search for recipes beyond the named one, seconds; 0 is not at all.
        timeout_s: how long the user's code may take.
        accept: ship also what only broke a budget.
        signature, signer_key, signer_chain: what the source came with and whose it is to be; see `source.vouched`.
        force: replace an existing release folder, and leave the cache of steps aside.
    """

    source: str
    targets: list[str]
    recipe: str = "default"
    version: str = "1"
    counter: int | None = None
    model: str = ""
    out: Path | None = None
    budget: float | None = None
    budgets: Mapping[str, float] = field(default_factory=dict)
    emulate: bool = False
    search_s: float = 0.0
    timeout_s: float = DEFAULT_TIMEOUT_S
    accept: bool = False
    force: bool = False
    data: str = ""
    signature: Path | None = None
    signer_key: Path | None = None
    signer_chain: tuple[Path, ...] = ()


def release_counter(request: Request) -> int:
    """The release counter: as given, else the version where it is a number.

    Raises:
        ContractError: `bad-id`.
    """
    parse_release(f"model@{request.version}")
    counter = request.counter
    if counter is None and request.version.isdecimal():
        counter = int(request.version)
    if counter is not None and counter <= LARGEST_COUNT:
        return counter
    if counter is not None:
        raise ContractError(
            "bad-id", f"The release counter {counter} is larger than {LARGEST_COUNT}, the largest."
        )
    raise ContractError(
        "bad-id",
        f"The version {request.version!r} is not a number, so it does not say which release is newer.",
        hint="Add --counter N, higher than that of every earlier release of the model.",
    )


def parse_budgets(texts: Sequence[str]) -> tuple[float | None, dict[str, float]]:
    """`2`, of the first metric, and `box overlap=3`, of another: as `Request.budget` and `Request.budgets`.

    Raises:
        ContractError: `malformed`.
    """
    named: dict[str, float] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        name = name.strip()
        try:
            budget = float(number)
        except ValueError:
            raise _no_budget(f"{text!r} is no budget.") from None
        if named.setdefault(name, budget) != budget:
            raise _no_budget(
                f"Two budgets are given for {name or 'the first metric'}: {named[name]:g} and {budget:g}."
            )
    main = named.pop("", None)
    check_budgets(main, named)
    return main, named


def check_budgets(main: float | None, named: Mapping[str, float]) -> None:
    """Refuse budgets that are none.

    Raises:
        ContractError: `malformed`.
    """
    for name, budget in ([] if main is None else [("", main)]) + list(named.items()):
        if not 0 <= budget <= LARGEST_BUDGET:
            raise _no_budget(f"A budget of {budget:g}{f' for {name}' if name else ''} is none.")


def _no_budget(message: str) -> ContractError:
    hint = f'Write --budget 2 for the first metric, --budget "box overlap=3" for another; from 0 to {LARGEST_BUDGET:g}.'
    return ContractError("malformed", message, hint=hint)
