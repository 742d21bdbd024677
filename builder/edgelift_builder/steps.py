"""Every step that a recipe can name. A new one is an object in `convert/` or `optimise/` and a line here."""

from __future__ import annotations

import difflib

from edgelift_builder.convert.onnx_export import ExportOnnx
from edgelift_builder.convert.tflite import ExportTflite
from edgelift_builder.convert.torchscript import ExportTorchScript
from edgelift_builder.optimise.clean_up import CleanUp
from edgelift_builder.optimise.dynamic_int8 import DynamicInt8
from edgelift_builder.optimise.dynamic_onnx import DynamicInt8Onnx
from edgelift_builder.optimise.fp16 import Fp16
from edgelift_builder.optimise.prune_channels import PRUNE_CHANNELS
from edgelift_builder.optimise.prune_layers import PRUNE_LAYERS
from edgelift_builder.optimise.prune_weights import PRUNE_WEIGHTS
from edgelift_builder.optimise.qat import QUANTISATION_AWARE
from edgelift_builder.optimise.static_int8 import StaticInt8
from edgelift_builder.optimise.tflite_int8 import TfliteStaticInt8
from edgelift_builder.optimise.tflite_weights import DYNAMIC, WEIGHT_ONLY
from edgelift_builder.optimise.training_steps import DISTIL, FINE_TUNE
from edgelift_builder.optimise.weight_only import WeightOnly
from edgelift_builder.pipeline import Step
from edgelift_builder.recipe import Recipe
from edgelift_builder.targets import Target
from edgelift_contract.errors import ContractError

_ALL: tuple[Step, ...] = (
    ExportOnnx(),
    ExportTflite(),
    ExportTorchScript(),
    CleanUp(),
    StaticInt8(),
    TfliteStaticInt8(),
    DYNAMIC,
    WEIGHT_ONLY,
    DynamicInt8(),
    DynamicInt8Onnx(),
    Fp16(),
    WeightOnly(),
    PRUNE_WEIGHTS,
    PRUNE_CHANNELS,
    PRUNE_LAYERS,
    FINE_TUNE,
    DISTIL,
    QUANTISATION_AWARE,
)

STEPS: dict[str, Step] = {step.name: step for step in _ALL}


def check_recipe(recipe: Recipe, targets: list[Target]) -> None:
    """Find a recipe's mistakes before anything is run.

    Raises:
        ContractError: `unknown-recipe` for an unknown step or option.
    """
    for inner in recipe.families.values():
        check_recipe(inner, targets)
    for variant in recipe.variants:
        for call in variant.steps:
            step = STEPS.get(call.step)
            if step is None:
                near = difflib.get_close_matches(call.step, STEPS, n=3) or sorted(STEPS)
                raise ContractError(
                    "unknown-recipe",
                    f"The recipe {recipe.name} names an unknown step {call.step!r}.",
                    hint=f"Did you mean {' or '.join(near)}?",
                )
            for target in targets:
                try:
                    step.settings(call.options, target)
                except ContractError as error:
                    # A target without this scheme is not given this variant; that is not the recipe's mistake.
                    if error.code == "unknown-recipe":
                        raise
