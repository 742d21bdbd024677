"""The small sources of `../shared/cases/builder`, beside the checkout, and right values for inputs that no build saw."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from benchmarks.alone import Arrays

_PLACE = Path("shared") / "cases" / "builder" / "sources.py"

#: None where only the checkout is there.
SOURCES = next((p / _PLACE for p in Path(__file__).parents if (p / _PLACE).exists()), None)

needs_cases = pytest.mark.skipif(SOURCES is None, reason="the cases lie beside the checkout, and here they don't")


@cache
def sources() -> ModuleType:
    """sources.py as a module."""
    assert SOURCES is not None
    spec = importlib.util.spec_from_file_location("shared_sources", SOURCES)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def named(function: str) -> str:
    """How a build names it."""
    return f"{SOURCES}:{function}"


@dataclass(frozen=True)
class SharedCase:
    """One source.

    Attributes:
        function: its name.
        fresh: seed → inputs by name, of the kind of its evaluation inputs.
        right: (artifact's outputs, the module's own, inputs) → the figure that counts, on a scale where 1 is float's.
        least: of that figure, for what ships.
        claimed: what float's claim must be, with how near.
        axes: sample axes, where they aren't the first.
    """

    function: str
    fresh: Callable[[int], Arrays]
    right: Callable[[Arrays, Arrays, Arrays], float]
    least: float
    claimed: tuple[float, float]
    axes: dict[str, int] = field(default_factory=dict)


def _normal(width: int, *more: str) -> Callable[[int], Arrays]:
    def fresh(seed: int) -> Arrays:
        drawn = np.random.default_rng(seed).normal(size=(400, width)).astype(np.float32)
        return {"x": drawn} | {name: np.ones_like(drawn) for name in more}

    return fresh


def _first(inputs: str) -> Callable[[int], Arrays]:
    return lambda seed: {inputs: sources()._two_classes(4000, seed)[0]}


def _images(side: int, count: int) -> Callable[[int], Arrays]:
    return lambda seed: {"x": sources()._images(count, seed, side)}


def _sentences(seed: int) -> Arrays:
    ids, mask, kinds = sources()._sentences(600, seed)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": kinds}


def _tokens(seed: int) -> Arrays:
    return {"ids": np.random.default_rng(seed).integers(0, 300, (400, 12))}


def _stateful(seed: int) -> Arrays:
    drawn = np.random.default_rng(seed)
    h, c = drawn.normal(0, 0.3, (2, 2, 200, 32)).astype(np.float32)
    return {"x": drawn.normal(size=(200, 10, 8)).astype(np.float32), "h": h, "c": c}


def _values(found: Arrays, own: Arrays, inputs: Arrays) -> float:
    """1 less the relative error of the worst channel of the worst output."""
    errors = []
    for name, wanted in own.items():
        off = found[name] - wanted
        rows = tuple(range(wanted.ndim - 1))
        errors.append((np.sqrt((off**2).mean(axis=rows)) / wanted.std(axis=rows)).max())
    return 1 - float(max(errors))


def _detector(found: Arrays, own: Arrays, inputs: Arrays) -> float:
    """And of scores above a quarter as many as float has, within a hundredth."""
    here, wanted = ((a["output_0"][..., 4:] > 0.25).sum() for a in (found, own))
    assert abs(int(here) - int(wanted)) <= 0.01 * wanted
    return _values(found, own, inputs)


def _same_class(axis: int) -> Callable[[Arrays, Arrays, Arrays], float]:
    return lambda found, own, _: float(np.mean(found["output_0"].argmax(axis) == own["output_0"].argmax(axis)))


def _two_classes(found: Arrays, own: Arrays, inputs: Arrays) -> float:
    x = inputs["input"] if "input" in inputs else next(iter(inputs.values()))
    right = (x[:, 0] * x[:, 1] + x[:, 2]) > 0
    return float(np.mean((found["output_0"][:, 0] > 0.5) == right))


def _cosine(found: Arrays, own: Arrays, inputs: Arrays) -> float:
    one, other = found["output_0"], own["output_0"]
    return float(np.mean((one * other).sum(1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1))))


#: Without labels the worst channel of float is off by nothing, and what ships by a tenth at most (and on fresh data a
#: little more, for it is an estimate).
_VALUES: dict[str, Any] = {"right": _values, "least": 0.87, "claimed": (0.0, 1e-4)}

CASES = [
    SharedCase("detector_one_output", _images(64, 200), _detector, 0.87, (0.0, 1e-4)),
    SharedCase("binary_one_column", _first("input"), _two_classes, 0.895, (0.92, 0.01)),
    SharedCase("regression_float_labels", _normal(16), _values, 0.99, (0.0, 1e-5)),
    SharedCase("text_in_order", _sentences, _same_class(-1), 0.98, (1.0, 0.0)),
    SharedCase("text_by_name", _sentences, _same_class(-1), 0.98, (1.0, 0.0)),
    SharedCase("constant_mask", _normal(16, "mask"), **_VALUES),
    SharedCase("embedding_cosine", _normal(20), _cosine, 0.994, (1.0, 1e-6)),
    SharedCase("segmentation", _images(48, 60), _same_class(1), 0.985, (1.0, 0.0)),
    SharedCase("tied_weights", _tokens, **_VALUES),
    SharedCase("recurrent_state", _stateful, **_VALUES, axes={"h": 1, "c": 1, "output_1": 1, "output_2": 1}),
    SharedCase("batch_of_one", _normal(16), **_VALUES),
    SharedCase("bfloat16_weights", _normal(16), **_VALUES),
]
