"""Which recipe a source gets where the one asked for names others by family, and which of its variants a target gets.

The family is told from the float graph, which the steps make anyway; see `family`. Conditions are the variants' own.
"""

from __future__ import annotations

from typing import get_args

from edgelift_builder import family
from edgelift_builder.facts import SourceFacts
from edgelift_builder.pipeline import StepContext, run_steps
from edgelift_builder.recipe import Recipe, StepCall, Variant, Where
from edgelift_builder.steps import STEPS
from edgelift_builder.targets import Target

#: Float weights over this share of a board's memory count as its limit: while one generation takes over from another
#: both are loaded, beside the system and the application.
MEMORY_SHARE = 0.25

_FLOAT_BYTES = 4

#: Formats that tell what a model is made of, and the step that leaves each.
_TELLING = {"onnx": ("export-onnx", family.of_onnx), "tflite": ("export-tflite", family.of_tflite)}


def recipe_for(asked: Recipe, facts: SourceFacts, context: StepContext) -> tuple[Recipe, str]:
    """The recipe to use, and a sentence on why; empty where the one asked for is it.

    Raises:
        EdgeliftError: what exporting raises.
    """
    if not asked.families:
        return asked, ""
    made_of = _makeup(facts, context)
    chosen = asked.families[made_of.family]
    return (
        chosen,
        f"Told from its graph to be of the family {made_of.family} ({made_of.words}): recipe {chosen.name}.",
    )


def _makeup(facts: SourceFacts, context: StepContext) -> family.Makeup:
    for format_name, (step, read) in _TELLING.items():
        if format_name in facts.formats:
            return read(run_steps([StepCall(step)], STEPS, context).model_path)
    return family.Makeup()


def variants(recipe: Recipe, target: Target, facts: SourceFacts) -> list[Variant]:
    """Those of a recipe that are worth making for a target."""
    holding = conditions(target, facts)
    return [v for v in recipe.variants if not v.where or holding & {*v.where}]


def conditions(target: Target, facts: SourceFacts) -> set[Where]:
    """Which conditions of variants hold for a target and a source."""
    return {where for where in get_args(Where) if _holds(where, target, facts)}


def _holds(where: Where, target: Target, facts: SourceFacts) -> bool:
    if where == "no-data":
        return facts.guessed
    if where == "memory":
        return _FLOAT_BYTES * facts.parameters > MEMORY_SHARE * target.memory_mb * 1e6
    return where in target.precisions
