"""Calibration: which range of each activation the 8 bits are to cover, from samples that are streamed.

Memory does not grow with the number of samples: one is read from disk, run, counted and forgotten. (The runtime's
own calibrators keep every activation of every sample: onnxruntime#10503, #21979.) A first pass finds each tensor's
least and largest value; the other methods make a second one to fill a histogram of `BINS` equal bins between them.

- `minmax`: all values seen.
- `percentile`: all but a share of them, half at either end: outliers are clipped, the rest gets finer steps.
- `entropy`: the threshold whose clipped and quantised distribution has the least Kullback–Leibler divergence from
  what was seen: S. Migacz, "8-bit Inference with TensorRT", GTC 2017, p. 38.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgelift_builder import calls, data
from edgelift_builder.data import Array
from edgelift_builder.piece import Range
from edgelift_builder.source.finite import check_numbers

Method = Literal["minmax", "percentile", "entropy"]
METHODS: tuple[Method, ...] = ("minmax", "percentile", "entropy")

#: Bins of a tensor's histogram, and of the one that is kept for the report.
BINS, REPORT_BINS = 2048, 32

#: Levels of one half of the range in 8 bits, for the entropy method.
_LEVELS = 128


def calibrate(
    model: Path, tensors: list[str], samples: Path, axes: calls.Axes, method: Method, percentile: float = 99.99
) -> dict[str, Range]:
    """Ranges of a float ONNX model's activations.

    Args:
        model: its path.
        tensors: names of the activations.
        samples: a stored data set.
        axes: where its samples are in a call.
        method: how to choose.
        percentile: of the values that stay in range, for `percentile`.

    Returns:
        Tensor → its range; none of a tensor that is infinite or NaN in a sample, which no range could hold.

    Raises:
        ContractError: `source-invalid` when a sample holds NaN.
    """
    session, names = _session(model, tensors), list(tensors)
    least = dict.fromkeys(names, np.inf)
    most = dict.fromkeys(names, -np.inf)
    for number, sample in enumerate(data.stream(samples)):
        check_numbers(sample, "Calibration sample", number)
        for name, array in _run(session, names, calls.one(sample, 0, axes)):
            if not array.size:
                continue  # a tensor without elements has no range
            least[name], most[name] = min(least[name], float(array.min())), max(most[name], float(array.max()))
    bounded = [name for name in names if np.isfinite(least[name]) and np.isfinite(most[name])]
    counts = {name: np.zeros(BINS, np.int64) for name in bounded}
    for sample in data.stream(samples):
        for name, array in _run(session, bounded, calls.one(sample, 0, axes)):
            counts[name] += histogram(array, least[name], most[name])
    return {n: _range(n, least[n], most[n], counts[n], method, percentile) for n in bounded}


def histogram(array: Array, least: float, most: float) -> Array:
    """How many values lie in each of `BINS` bins; all in the first where the values are one, as of a mask of ones."""
    if most - least <= 1e-9 * max(abs(least), abs(most)):
        return np.bincount([0], [array.size], BINS).astype(np.int64)
    return np.histogram(array.astype(np.float64), BINS, (least, most))[0]


def entropy_threshold(counts: Array) -> int:
    """The number of bins of a histogram of magnitudes, int[n], that 8 bits are best given."""
    counts = counts.copy()
    counts[0] = counts[1]  # exact zeros, as after a ReLU, are represented exactly whatever the threshold
    best, chosen = np.inf, len(counts)
    if not counts.sum():
        return chosen
    for kept in range(_LEVELS, len(counts) + 1, _LEVELS // 8):
        inside = counts[:kept].astype(np.float64)
        clipped = inside.copy()
        clipped[-1] += counts[kept:].sum()
        starts = np.arange(_LEVELS) * kept // _LEVELS
        filled = (inside > 0).astype(np.float64)
        held = np.maximum(np.add.reduceat(filled, starts), 1.0)
        level = np.searchsorted(starts, np.arange(kept), side="right") - 1
        coarse = (np.add.reduceat(inside, starts) / held)[level] * filled
        divergence = _divergence(clipped, coarse)
        if divergence < best:
            best, chosen = divergence, kept
    return chosen


def _divergence(p: Array, q: Array) -> float:
    # What fell into an empty bin has no counterpart in q: a small share stands in, as in Migacz's slides.
    p, q = p / p.sum(), q / max(q.sum(), 1.0)
    there = p > 0
    return float(np.sum(p[there] * np.log(p[there] / np.maximum(q[there], 1e-9))))


def _range(name: str, least: float, most: float, counts: Array, method: str, percentile: float) -> Range:
    edges = np.linspace(least, most, BINS + 1)
    low, high = least, most
    if method == "percentile" and counts.sum():
        low, high = cut(least, most, counts, percentile)
    elif method == "entropy" and counts.sum():
        reach = max(abs(least), abs(most)) or 1.0
        middles = np.abs((edges[:-1] + edges[1:]) / 2)
        magnitudes = np.histogram(middles, BINS, (0, reach), weights=counts)[0]
        threshold = reach * entropy_threshold(magnitudes) / BINS
        low, high = max(least, -threshold), min(most, threshold)
    return Range(name, low, high, least, most, shown(counts))


def cut(least: float, most: float, counts: Array, percentile: float) -> tuple[float, float]:
    """The range that holds `percentile` of the values counted between `least` and `most`, half of the rest at either end."""
    edges = np.linspace(least, most, BINS + 1)
    share = np.cumsum(counts) / counts.sum()
    outside = (1 - percentile / 100) / 2
    # A tensor with a hard lower end, as after a ReLU, has its lowest bin full: nothing is cut there.
    low = float(edges[int(np.searchsorted(share, outside, side="right"))])
    return low, float(edges[int(np.searchsorted(share, 1 - outside)) + 1])


def shown(counts: Array) -> tuple[int, ...]:
    """A histogram as the report has it, coarser."""
    return tuple(int(n) for n in counts.reshape(REPORT_BINS, -1).sum(axis=1))


def _run(session: Any, names: list[str], sample: data.DataSet) -> Iterator[tuple[str, Array]]:
    inputs = [i.name for i in session.get_inputs()]
    from_graph = [name for name in names if name not in inputs]
    found = session.run(from_graph, {n: sample[n] for n in inputs}) if from_graph else []
    for name, array in zip(from_graph, found, strict=True):
        if array.size:
            yield name, array
    for name in names:
        if name in inputs:
            yield name, sample[name]


def _session(model: Path, tensors: list[str]) -> Any:
    import onnx
    import onnxruntime as ort

    proto = onnx.load(model, load_external_data=False)
    given = {v.name for v in (*proto.graph.output, *proto.graph.input)}
    for name in tensors:
        if name not in given:
            proto.graph.output.append(onnx.ValueInfoProto(name=name))
    watched = model.with_name("watched.onnx")  # beside the weights, which it shares
    watched.write_bytes(proto.SerializeToString())
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False
    try:
        return ort.InferenceSession(str(watched), options, providers=["CPUExecutionProvider"])
    finally:
        watched.unlink()
