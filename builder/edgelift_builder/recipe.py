"""Recipes: which variants of a model to make, and of which steps.

    name = "int8-static"
    summary = "…"
    accuracy_drop_pp = 0.5

    [[variant]]
    name = "int8-static"
    format = "onnx"
    steps = ["export-onnx", { step = "static-int8", calibration = "minmax" }]

A recipe names steps and their options; how int8 is done on a board is the target's to say. Named recipes are
the files in `recipes/`; its README gives the nomenclature. A recipe may also only name others, one for each family of
models, as `default` does; see `family`.
"""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edgelift_builder.exceptions import in_short
from edgelift_contract import codec
from edgelift_contract.errors import ContractError
from edgelift_contract.ids import Name
from edgelift_contract.manifest import Format

FLOAT = "float32"

#: What that variant is called once it is made: by the floats that its graph really holds.
FLOATS = (FLOAT, "float16", "float64")

#: The one variant of a model that comes quantised.
AS_IT_CAME = "int8-as-it-came"

#: When a variant is worth making: on targets that list this precision, where float would fill the target's memory, or
#: for want of data to calibrate by.
Where = Literal["int8", "float16", "memory", "no-data"]


class StepCall(msgspec.Struct, frozen=True):
    """A step by name, with its options as the recipe gives them."""

    step: str
    options: dict[str, Any] = {}


class Variant(msgspec.Struct, frozen=True):
    """One candidate.

    Attributes:
        name: what was done, as `int8-static`; `float32` is what the others of its format are compared with.
        format: what its last step leaves.
        steps: in order.
        required: when it cannot be made the build fails, instead of going on without it.
        where: it is made where one of these holds; always when there are none.
    """

    name: str
    format: Format
    steps: list[StepCall]
    required: bool = False
    where: list[Where] = []


class Recipe(msgspec.Struct, frozen=True):
    """What to do to a source.

    Attributes:
        name, digest: its name, and the SHA-256 of its file.
        accuracy_drop_pp: most that a variant may lose against float, in percentage points.
        variants: candidates, each format's `float32` among them.
        families: in place of variants: the recipe for each family of models.
    """

    name: str
    digest: str
    summary: str
    accuracy_drop_pp: float
    variants: list[Variant]
    families: dict[str, Recipe] = {}

    @property
    def label(self) -> str:
        """As provenance names it: `int8-static#0a1b2c3d4e5f`."""
        return f"{self.name}#{self.digest[:12]}"


class _VariantFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Name
    format: Format
    steps: Annotated[list[str | dict[str, Any]], Meta(min_length=1)]
    required: bool = False
    where: list[Where] = []


class _Families(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cnn: Name
    transformer: Name
    recurrent: Name
    mlp: Name


class _RecipeFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Name
    variant: list[_VariantFile] = []
    family: _Families | None = None
    summary: str = ""
    accuracy_drop_pp: Annotated[float, Meta(ge=0, le=100)] = 0.5


def names() -> list[str]:
    """Every recipe that ships with edgelift, sorted."""
    files = resources.files("edgelift_builder").joinpath("recipes").iterdir()
    return sorted(p.name.removesuffix(".toml") for p in files if p.name.endswith(".toml"))


def load_recipe(name: str) -> Recipe:
    """The recipe of that name, or of the `.toml` file at that path.

    Raises:
        ContractError: `unknown-recipe`: no such name (with near ones), not valid, or without a `float32`
            variant for one of its formats.
    """
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise ContractError("unknown-recipe", f"There is no recipe file {name}.")
        return _parse(path.name, path.read_bytes())
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=3, cutoff=0.5) or names()
        raise ContractError(
            "unknown-recipe", f"There is no recipe {name!r}.", hint=f"Did you mean {' or '.join(near)}?"
        )
    file = resources.files("edgelift_builder").joinpath("recipes").joinpath(f"{name}.toml")
    return _parse(file.name, file.read_bytes())


def _parse(file: str, text: bytes) -> Recipe:
    try:
        found = msgspec.toml.decode(text, type=_RecipeFile)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise ContractError(
            "unknown-recipe",
            f"The recipe {file} is not valid: {in_short(str(error))}.",
            hint="The fields are told in edgelift_builder/recipes/README.md.",
        ) from error
    if bool(found.variant) == bool(found.family):
        raise ContractError(
            "unknown-recipe",
            f"The recipe {file} has {'both variants and' if found.family else 'neither variants nor'} a recipe by family.",
            hint="Give it [[variant]] tables, or one [family] table that names other recipes.",
        )
    kept = [v.name for v in found.variant if v.name in FLOATS and v.name != FLOAT]
    if kept:
        raise ContractError(
            "unknown-recipe",
            f"The recipe {file} makes a variant {kept[0]}, which is what {FLOAT} is called of a model that came so.",
            hint="Give it another name, as fp16.",
        )
    variants = [
        Variant(v.name, v.format, [_call(file, v.name, s) for s in v.steps], v.required, v.where)
        for v in found.variant
    ]
    for variant in variants:
        if not any(v.name == FLOAT and v.format == variant.format for v in variants):
            raise ContractError(
                "unknown-recipe",
                f"The recipe {file} makes {variant.name} as {variant.format} but no {FLOAT} of that format.",
                hint="Every variant is compared with the float of its own format: add that variant.",
            )
    _refuse_twins(file, variants)
    return Recipe(
        found.name, codec.digest(text), found.summary, found.accuracy_drop_pp, variants, _by_family(found)
    )


def _by_family(found: _RecipeFile) -> dict[str, Recipe]:
    if found.family is None:
        return {}
    chosen = {family: load_recipe(name) for family, name in msgspec.structs.asdict(found.family).items()}
    nested = [recipe.name for recipe in chosen.values() if recipe.families]
    if nested:
        raise ContractError(
            "unknown-recipe", f"The recipe {found.name} names {nested[0]}, which only names others."
        )
    return chosen


def _refuse_twins(file: str, variants: list[Variant]) -> None:
    seen: set[tuple[str, str]] = set()
    for variant in variants:
        if (variant.name, variant.format) in seen:
            raise ContractError(
                "unknown-recipe", f"The recipe {file} makes {variant.name} as {variant.format} twice."
            )
        seen.add((variant.name, variant.format))


def _call(file: str, variant: str, step: str | dict[str, Any]) -> StepCall:
    if isinstance(step, str):
        return StepCall(step)
    options = dict(step)
    name = options.pop("step", None)
    if not isinstance(name, str):
        raise ContractError(
            "unknown-recipe",
            f"A step of {variant} in the recipe {file} has no name.",
            hint='Write it as "export-onnx" or { step = "static-int8", … }.',
        )
    return StepCall(name, options)
