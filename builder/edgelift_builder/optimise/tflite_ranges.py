"""Ranges of a TFLite model's activations, by several ways of choosing them at once.

- `minmax`: true least and largest of all samples.
- `percentile 99.99`, `percentile 99.9`: all but that share of the values, half at either end.
- `average`: the quantiser's own way, a moving average of each sample's least and largest, which cuts off whatever is rare:
  of one two-class model it left 51 % of 92 % right. It is here so that nothing we choose is worse than it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgelift_builder import data
from edgelift_builder.optimise import calibration
from edgelift_builder.optimise.tflite_plan import OperatorRecipe
from edgelift_builder.piece import Range

PERCENTILES = {"percentile 99.99": 99.99, "percentile 99.9": 99.9}
METHODS = ("minmax", *PERCENTILES, "average")

#: Masks that are no infinity are -1e9 or the least float: from here on a number stands for one.
BOUND = 1e8

#: What is as large is no number but stands for infinity (its `min_max_calibrate`).
_NUMBER = 3e38

#: Values that are counted together, and so held: 16 MB.
_AT_ONCE = 4_000_000

#: How much of a moving average the next sample leaves, as ai-edge-quantizer has it (`qsv_utils.moving_average_update`).
_KEPT = 0.95


class Ranges:
    """What calibration saw of each tensor.

    Attributes:
        seen: names of the tensors that the quantiser wants ranges of.
        boundless: those that no range holds, as the scores of a masked attention: infinite, NaN, or as good as that.
    """

    def __init__(self, model: bytes, plan: OperatorRecipe, samples: list[data.DataSet]) -> None:
        """Run the float model on every sample, twice.

        Args:
            model: a prepared file.
            plan: what is to be quantised, which decides what has to be known.
            samples: a call for each, in the element types that the file has.
        """
        self._seen = _statistics(model, plan, samples)
        self.seen = list(self._seen)
        self.boundless = [name for name, seen in self._seen.items() if _is_boundless(seen["min"], seen["max"])]
        bounded = {n: s for n, s in self._seen.items() if s["min"].size == 1 and n not in self.boundless}
        self._counts = _histograms(model, samples, bounded)

    def by(self, method: str) -> dict[str, Any]:
        """The quantiser's own table, tensor → `min` and `max`."""
        return {name: self._chosen(name, seen, method) for name, seen in self._seen.items()}

    def report(self, method: str) -> tuple[Range, ...]:
        """The same for people, of the tensors that vary."""
        made = []
        for name, counts in self._counts.items():
            seen, chosen = self._seen[name], self._chosen(name, self._seen[name], method)
            low, high, least, most = (
                float(a.item()) for a in (chosen["min"], chosen["max"], seen["min"], seen["max"])
            )
            made.append(Range(name, low, high, least, most, calibration.shown(counts)))
        return tuple(made)

    def _chosen(self, name: str, seen: dict[str, Any], method: str) -> dict[str, Any]:
        least, most = seen["min"], seen["max"]
        if method == "average":
            least, most = seen.get("low", least), seen.get("high", most)
        elif method in PERCENTILES and name in self._counts:
            ends = calibration.cut(least.item(), most.item(), self._counts[name], PERCENTILES[method])
            least, most = (np.full_like(like, end) for like, end in zip((least, most), ends, strict=True))
        return {"min": least, "max": most}


def _is_boundless(*ends: data.Array) -> bool:
    return any(not (np.abs(end) < BOUND).all() for end in ends)  # NaN is not below either


def _statistics(model: bytes, plan: OperatorRecipe, samples: list[data.DataSet]) -> dict[str, dict[str, Any]]:
    """The quantiser says by one sample which tensors it wants to know of. What all of them add to that is taken here, for it
    goes through all operators again for each; but for files with graphs inside a graph, whose tensors it alone finds.
    """
    from ai_edge_quantizer import calibrator

    wanted = calibrator.Calibrator(model, num_threads=1, qsv_update_func=_widened)
    (key,) = wanted.get_signature_list()
    wanted.calibrate({key: samples[:1]}, plan)
    names: dict[str, dict[str, Any]] = wanted.get_model_qsvs()
    interpreter = _watched(model)
    places = _places(interpreter)
    if not places.keys() >= names.keys():
        wanted.calibrate({key: samples[1:]}, plan)
        return wanted.get_model_qsvs()  # type: ignore[no-any-return]  # the package has no types
    runner, seen = interpreter.get_signature_runner(), dict[str, dict[str, Any]]()
    for sample in samples:
        runner(**sample)
        for name, values in _values(interpreter, {name: places[name] for name in names}):
            found = _ends(values)
            seen[name] = _widened(seen[name], found) if name in seen else found
    return seen


def _ends(values: data.Array) -> dict[str, data.Array]:
    """Least and largest, as the quantiser has them: of floats those that stand for a number, where there is any."""
    least, most = values.min(), values.max()
    if values.dtype.kind == "f" and not (least > -_NUMBER and most < _NUMBER):
        least = np.min(values, where=values > -_NUMBER, initial=np.inf)
        most = np.max(values, where=values < _NUMBER, initial=-np.inf)
        least = values.min() if least == np.inf else least
        most = values.max() if most == -np.inf else most
    shape = (1,) * values.ndim
    return {"min": np.reshape(least, shape), "max": np.reshape(most, shape)}


def _widened(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The wider of two ranges, and beside it what the moving average would be."""
    low, high = one.get("low", one["min"]), one.get("high", one["max"])
    return {
        "min": np.minimum(one["min"], other["min"]),
        "max": np.maximum(one["max"], other["max"]),
        "low": _KEPT * low + (1 - _KEPT) * other["min"],
        "high": _KEPT * high + (1 - _KEPT) * other["max"],
    }


def means(model: bytes, samples: Sequence[data.DataSet]) -> dict[str, data.Array]:
    """Of each activation of the float model, the mean of its last axis' elements over samples and places: float64."""
    interpreter = _watched(model)
    runner, places = interpreter.get_signature_runner(), _places(interpreter, np.float32)
    sums: dict[str, data.Array] = {}
    for sample in samples:
        runner(**sample)
        for name, values in _values(interpreter, places):
            if values.ndim:
                sums[name] = sums.get(name, 0.0) + values.reshape(-1, values.shape[-1]).mean(
                    axis=0, dtype=np.float64
                )
    return {name: total / len(samples) for name, total in sums.items()}


def _histograms(
    model: bytes, samples: Iterable[data.DataSet], seen: dict[str, dict[str, Any]]
) -> dict[str, data.Array]:
    """How many values of each activation lie in each of `calibration.BINS` bins between its least and largest."""
    interpreter = _watched(model)
    runner, places = interpreter.get_signature_runner(), _places(interpreter, np.float32)
    places = {name: places[name] for name in seen if name in places}
    counts = {name: np.zeros(calibration.BINS, np.int64) for name in places}
    for together in _in_batches(runner, interpreter, samples, places):
        for name, values in together.items():
            counts[name] += calibration.histogram(
                np.concatenate(values), seen[name]["min"].item(), seen[name]["max"].item()
            )
    return {name: array for name, array in counts.items() if array.any()}


def _in_batches(
    runner: Any, interpreter: Any, samples: Iterable[data.DataSet], places: Mapping[str, int]
) -> Iterator[dict[str, list[data.Array]]]:
    """Each activation's values of several samples: counting many at once is quicker than a few many times."""
    together, held = dict[str, list[data.Array]](), 0
    for sample in samples:
        runner(**sample)
        for name, values in _values(interpreter, places):
            together.setdefault(name, []).append(values.ravel())
            held += values.size
        if held > _AT_ONCE:
            yield together
            together, held = {}, 0
    if together:
        yield together


def _watched(model: bytes) -> Any:
    """An interpreter that keeps every tensor."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model, num_threads=1, experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN,
    )  # fmt: skip
    interpreter.allocate_tensors()
    return interpreter


def _places(interpreter: Any, kind: Any = None) -> dict[str, int]:
    """Where the tensors of the first graph are, by their names; `kind`: those of this element type alone."""
    details = interpreter.get_tensor_details()
    return {d["name"]: d["index"] for d in details if kind is None or d["dtype"] is kind}


def _values(interpreter: Any, places: Mapping[str, int]) -> Iterator[tuple[str, data.Array]]:
    for name, index in places.items():
        try:
            values = interpreter.get_tensor(index)
        except ValueError:  # a tensor that no kernel wrote: fused away
            continue
        if values.size:
            yield name, values
