"""What ai-edge-quantizer is to do with each operator of a TFLite file: a recipe of its own, less what stays float.

Its `Quantizer` matches every operator against a pattern for each one that stays float, and works out anew for every file
what a kind of operator can become; choosing among calibrations makes dozens of files of one model, of hundreds of
operators. Here what stays is looked up, and what a kind becomes is asked once.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from typing import Any


class OperatorRecipe:
    """Stands for the quantiser's `RecipeManager` where that is only asked."""

    def __init__(self, steps: Any) -> None:
        """`steps`: a recipe of the quantiser's, whose every scope is `.*`."""
        from ai_edge_quantizer import recipe_manager

        self._manager = recipe_manager.RecipeManager()
        self._manager.load_quantization_recipe(steps)
        self._kept = frozenset[str]()
        self._known: dict[Any, Any] = {}

    def leaving(self, kept: Iterable[str]) -> OperatorRecipe:
        """The same, but for the operators of these scopes, which stay as they are."""
        other = object.__new__(OperatorRecipe)
        other._manager, other._known, other._kept = self._manager, self._known, frozenset(kept)
        return other

    def need_calibration(self) -> bool:
        """Does it want ranges."""
        return bool(self._manager.need_calibration())

    def get_quantization_configs(self, kind: Any, scope: str) -> Any:
        """Algorithm and settings for an operator."""
        from ai_edge_quantizer import qtyping
        from ai_edge_quantizer.algorithm_manager import AlgorithmName

        if scope in self._kept:
            return AlgorithmName.NO_QUANTIZE, qtyping.OpQuantizationConfig()
        if kind not in self._known:
            self._known[kind] = self._manager.get_quantization_configs(kind, scope)
        return self._known[kind]


def static() -> OperatorRecipe:
    """The quantiser's static recipe in 8 bits, with float ends."""
    from ai_edge_quantizer import qtyping, recipe, recipe_manager

    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(recipe.static_wi8_ai8())
    for end in ("INPUT", "OUTPUT"):
        manager.add_quantization_config(".*", qtyping.TFLOperationName[end], algorithm_key="no_quantize")
    return OperatorRecipe(manager.get_quantization_recipe())


class Model:
    """A float file that is quantised again and again."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_quantizer.utils import tfl_flatbuffer_utils

        # The quantiser changes what it is given. A copy by pickle takes a tenth of reading the file anew, and shares
        # the weights.
        self._weights: list[pickle.PickleBuffer] = []
        model = tfl_flatbuffer_utils.read_model(content)
        self._pickled = pickle.dumps(model, protocol=5, buffer_callback=self._weights.append)

    def quantised(self, plan: OperatorRecipe, ranges: Any = None) -> bytes:
        """The file that the quantiser makes of it by a plan; `ranges`, tensor → `min` and `max`, where that needs them."""
        from ai_edge_quantizer import model_modifier, params_generator

        model = pickle.loads(self._pickled, buffers=self._weights)  # noqa: S301 - made above
        wanted = params_generator.ParamsGenerator(model).generate_quantization_parameters(plan, ranges, False)
        return bytes(model_modifier.ModelModifier(model).modify_model(wanted))
