"""Goldens: which samples an artifact carries, what it must answer, and how near an answer must come.

**Which**: half are the hardest samples of the evaluation set (smallest margin between the largest output and
the next), half are spread evenly over it. A sample on which the artifact's own margin is within two tolerances
is passed over: its largest element would be chance on other kernels.

**What**: the artifact's own outputs, one sample at a time, through its own runtime on this host.

**How near**: under the key of this host, runtime and options: equal to the bit. Elsewhere other kernels compute
the same graph, and how far they may lie apart is measured here by running the artifact once more with other
kernels (see `runtimes.open_session`) over some of the evaluation set. The tolerance is twice the largest
difference seen, and at least

- for int8 with quantised outputs: one quantum of the output,
- for int8 computed dynamically (outputs are not on a grid): 1e-3 of the outputs' range,
- for float16: 2e-3 of the outputs' range, four roundings of 2^-11; and twice what it lies from the float model. This host
  rounds its weights and computes in float32, a GPU rounds every intermediate too: no other kernels here show that,
- for float: 1e-5 of the outputs' range.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgelift_builder import calls, data
from edgelift_builder.data import Array, DataSet
from edgelift_builder.measure.evaluate import apart, spread
from edgelift_contract.golden import Golden, Tensor, dump_goldens

COUNT = 16

#: Samples on which other kernels are tried.
OTHER_KERNELS_SAMPLES = 200

_FLOAT_SHARE, _DYNAMIC_SHARE, _HALF_SHARE, _SAFETY = 1e-5, 1e-3, 2e-3, 2.0


@dataclass(frozen=True)
class Nearness:
    """How near outputs must come to their goldens, and why.

    Attributes:
        atol: the tolerance, in the outputs' unit.
        quantum: step of the output's grid; 0 where it has none.
        kernels_apart: largest difference that other kernels made.
        argmax: must the largest element be the same.
    """

    atol: float
    quantum: float
    kernels_apart: float
    argmax: bool


def nearness(
    outputs: DataSet, same: DataSet, other: DataSet, *, int8: bool, halved: DataSet | None = None
) -> Nearness:
    """The tolerance of an artifact.

    Args:
        outputs: its outputs on the whole evaluation set.
        same: its outputs on some samples.
        other: those by other kernels.
        int8: was it quantised.
        halved: the float model's outputs on the whole evaluation set, where this one is in float16.
    """
    first = next(iter(outputs.values()))
    kernels_apart = max(apart(same[n], other[n]) for n in same)
    range_ = max(spread(a) for a in outputs.values())
    quantum = grid_step(first) if int8 else 0.0
    floor = _FLOAT_SHARE * range_ if not int8 else quantum or _DYNAMIC_SHARE * range_
    if halved is not None:
        floor = max(_HALF_SHARE * range_, _SAFETY * _rounded_away(outputs, halved))
    atol = max(floor, _SAFETY * kernels_apart)
    argmax = first.ndim >= 2 and first.shape[-1] > 1 and not data.is_text(first)
    # Rounded up to three digits: a tolerance is not known better than that, and manifests stay readable.
    return Nearness(_round_up(atol), quantum, kernels_apart, argmax)


def _rounded_away(outputs: DataSet, floats: DataSet) -> float:
    """What rounding to float16 moved the outputs by; 0 where they overflowed or the shapes differ: accuracy judges that."""
    found = max((apart(outputs[name], floats[name]) for name in floats if name in outputs), default=0.0)
    return found if np.isfinite(found) else 0.0


def grid_step(array: Array) -> float:
    """The quantum of values that lie on a grid; 0 for values that don't, and for text.

    An int8 output takes at most 256 values; more than that, or gaps that are no multiples of the smallest, is
    no grid.
    """
    if data.is_text(array):
        return 0.0
    values = np.unique(array.astype(np.float64))
    values = values[np.isfinite(values)]
    if not 2 <= len(values) <= 256:
        return 0.0
    gaps = np.diff(values)
    step = float(gaps.min())
    multiples = gaps / step
    return step if bool(np.all(np.abs(multiples - np.round(multiples)) < 1e-2 * np.round(multiples))) else 0.0


def choose(reference: DataSet, outputs: DataSet, near: Nearness, count: int = COUNT) -> list[int]:
    """Indexes of the samples to carry, ascending; at most `count`, at least one."""
    n = data.length(outputs)
    own = _margins(next(iter(outputs.values())))
    hard = np.argsort(_margins(next(iter(reference.values()))), kind="stable")
    firm = np.flatnonzero(own > 2 * near.atol) if near.argmax else np.arange(n)
    if not len(firm):
        firm = np.argsort(-own, kind="stable")[:1]
    is_firm = np.zeros(n, dtype=bool)
    is_firm[firm] = True
    chosen = [int(i) for i in hard if is_firm[i]][: count // 2]
    spaced = firm[np.linspace(0, len(firm) - 1, num=min(count, len(firm))).astype(int)]
    for index in (int(i) for i in spaced):
        if len(chosen) >= count:
            break
        if index not in chosen:
            chosen.append(index)
    return sorted(chosen)


def record(inputs: DataSet, outputs: DataSet, indexes: list[int], axes: calls.Axes) -> bytes:
    """The goldens file: each chosen sample, with what the artifact answered to it alone."""
    pairs = [(calls.one(inputs, i, axes), calls.one(outputs, i, axes)) for i in indexes]
    return dump_goldens([Golden(inputs=_tensors(given), outputs=_tensors(answer)) for given, answer in pairs])


def _margins(array: Array) -> Array:
    """Distance of the largest to the next element along the last axis, the least of each sample: float64[n]."""
    if data.is_text(array) or array.ndim < 2 or array.shape[-1] < 2:
        return np.full(len(array), np.inf)
    top = np.partition(array.astype(np.float64), -2, axis=-1)
    with np.errstate(invalid="ignore"):
        apart_by = np.where(
            top[..., -1] == top[..., -2], 0.0, top[..., -1] - top[..., -2]
        )  # of two infinities nothing
    margins: Array = apart_by.reshape(len(array), -1).min(axis=1)
    return margins


def _tensors(arrays: DataSet) -> list[Tensor]:
    return [Tensor(n, data.data_type(a), list(a.shape), _bytes(a)) for n, a in arrays.items()]


def _bytes(array: Array) -> bytes:
    """As the Open Inference Protocol lays elements out; of text each with its length before it, four bytes."""
    if data.is_text(array):
        encoded = [text.encode() for text in array.ravel().tolist()]
        return b"".join(len(text).to_bytes(4, "little") + text for text in encoded)
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def _round_up(value: float) -> float:
    if value <= 0:
        return 0.0
    unit = 10.0 ** (np.floor(np.log10(value)) - 2)
    return float(f"{np.ceil(value / unit) * unit:.3g}")
