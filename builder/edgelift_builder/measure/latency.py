"""Latency of warm single inferences, candidates and float interleaved in one run.

Interleaving makes the ratios fair: whatever else the machine does, it does to all of them alike. Bare times
depend on the machine; ratios hardly do. The order is drawn anew in every round, from a fixed seed: a model is slower
right after one that left the caches full, and no model may have that place every time.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns
from typing import NamedTuple

import numpy as np

from edgelift_builder import calls, data
from edgelift_builder.facts import EVALUATION
from edgelift_builder.judge import intervals
from edgelift_builder.measure.runtimes import ModelSpec, open_session
from edgelift_contract.histogram import Histogram, HistogramData

#: Rounds at most, and before them.
ROUNDS, WARM_UP = 2000, 30

#: Of fast models many rounds fit into the first of these: a few milliseconds in all would measure what else the machine did
#: just then, and of two nearly equal candidates put the slower one first. Slow ones are done with fewer, when the second
#: has passed; the median of these is still good to a few per cent.
LEAST_ROUNDS, ENOUGH_ROUNDS = 200, 300
ENOUGH_S, PATIENCE_S = 5.0, 30.0


@dataclass(frozen=True)
class Latency:
    """What single inferences took.

    Attributes:
        p50_us, p95_us: exact quantiles of the recorded times, microseconds.
        rounds: how many were recorded.
        histogram: the same times, as they travel.
        times_us: the same times, in order of rounds: those of two models in one run are pairs.
    """

    p50_us: float
    p95_us: float
    rounds: int
    histogram: HistogramData
    times_us: tuple[float, ...] = field(default=(), repr=False)


class Ratio(NamedTuple):
    """How many times as fast, with its 95 % interval."""

    value: float
    low: float
    high: float


def ratio(one: Latency, other: Latency) -> Ratio:
    """Median over the rounds of `one`'s time ÷ `other`'s, both from the same run: above 1, `other` is faster.

    Taken within rounds, what slows a whole round down cancels out.
    """
    pairs = np.array(one.times_us) / np.array(other.times_us)
    return Ratio(float(np.median(pairs)), *intervals.median(pairs))


def measure(specs: list[ModelSpec], data_folder: str, rounds: int = ROUNDS) -> list[Latency]:
    """Time every model in turn, round after round, each on the same sample, batch 1: at least 200 rounds, or
    `rounds` where that is fewer; more as long as they take little time.
    """
    inputs = data.load(Path(data_folder) / EVALUATION)
    count = data.length(inputs)
    # One source's candidates are called alike, whatever their format.
    samples = [calls.one(inputs, i, specs[0].axes) for i in range(min(count, rounds, ENOUGH_ROUNDS))]
    sessions = [open_session(spec) for spec in specs]
    for i in range(min(WARM_UP, rounds)):
        for session in sessions:
            session.run(samples[i % len(samples)])
    times = np.zeros((rounds, len(sessions)), dtype=np.int64)
    shuffled = np.random.default_rng(0)
    done, started = 0, perf_counter_ns()
    gc.collect()
    gc.disable()
    try:
        for done in range(rounds):
            sample = samples[done % len(samples)]
            for column in shuffled.permutation(len(sessions)):
                session = sessions[column]
                begin = perf_counter_ns()
                session.run(sample)
                times[done, column] = perf_counter_ns() - begin
            if _is_enough(done + 1, (perf_counter_ns() - started) / 1e9):
                break
    finally:
        gc.enable()
    return [_summary(times[: done + 1, column] / 1000.0) for column in range(len(sessions))]


def _is_enough(rounds: int, seconds: float) -> bool:
    return (rounds >= ENOUGH_ROUNDS and seconds > ENOUGH_S) or (rounds >= LEAST_ROUNDS and seconds > PATIENCE_S)


def _summary(times_us: data.Array) -> Latency:
    histogram = Histogram()
    for value in times_us.tolist():
        histogram.record(value)
    p50, p95 = (float(q) for q in np.percentile(times_us, (50, 95)))
    return Latency(p50, p95, len(times_us), histogram.to_data(), tuple(times_us.tolist()))
