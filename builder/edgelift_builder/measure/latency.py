"""Latency of warm single inferences, candidates and float interleaved in one run.

Interleaving makes the ratios fair: whatever else the machine does, it does to all of them alike. Bare times
depend on the machine; ratios hardly do. The order is drawn anew in every round, from a fixed seed.

Warm means that a model's own weights are in the caches, as on a device that serves this model and as its preflight measures:
so each call that counts comes after a few of the same model that don't. Without these it is the other candidates that are
measured: among eleven a dynamic int8 LSTM took 138 µs and its rival 98, by themselves 52 and 64.
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
from edgelift_builder.measure.runtimes import ModelSpec, Session, open_session
from edgelift_contract.histogram import Histogram, HistogramData

#: Rounds at most, and before them.
ROUNDS, WARM_UP = 1000, 30

#: Calls that don't count, before each that does: three, or as many as fit into the time. A call that takes longer than that
#: needs none: it brings its weights from memory however often it runs. With three, eleven candidates beside each other
#: take what each takes alone (ratio of the two above 0.86 and 0.83; with none 1.6), on a busy machine too.
SETTLING_US, SETTLING_CALLS = 5000.0, 3

#: Of fast models many rounds fit into the first of these: a few milliseconds in all would measure what else the machine did
#: just then, and of two nearly equal candidates put the slower one first. Slow ones are done with fewer, when the second
#: has passed; the median of these is still good to a few per cent.
LEAST_ROUNDS, ENOUGH_ROUNDS = 100, 200
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
    """Time every model in turn, round after round, each on the same sample, batch 1: at least 100 rounds, or
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
    times, before = np.zeros((rounds, len(sessions))), [settling(s, samples[0]) for s in sessions]
    shuffled = np.random.default_rng(0)
    done, started = 0, perf_counter_ns()
    gc.collect()
    gc.disable()
    try:
        for done in range(rounds):
            sample = samples[done % len(samples)]
            for column in shuffled.permutation(len(sessions)):
                times[done, column] = warm_us(sessions[column], sample, before[column])
            if _is_enough(done + 1, (perf_counter_ns() - started) / 1e9):
                break
    finally:
        gc.enable()
    return [_summary(times[: done + 1, column]) for column in range(len(sessions))]


def settling(session: Session, sample: data.DataSet) -> int:
    """How many calls of a model that has run before make it warm again after others; see `SETTLING_US`."""
    call_us = min(warm_us(session, sample, 0) for _ in range(3))
    return min(SETTLING_CALLS, int(SETTLING_US / call_us))


def warm_us(session: Session, sample: data.DataSet, before: int) -> float:
    """Microseconds that one call takes right after `before` others of the same model."""
    for _ in range(before):
        session.run(sample)
    begin = perf_counter_ns()
    session.run(sample)
    return (perf_counter_ns() - begin) / 1000.0


def _is_enough(rounds: int, seconds: float) -> bool:
    return (rounds >= ENOUGH_ROUNDS and seconds > ENOUGH_S) or (rounds >= LEAST_ROUNDS and seconds > PATIENCE_S)


def _summary(times_us: data.Array) -> Latency:
    histogram = Histogram()
    for value in times_us.tolist():
        histogram.record(value)
    p50, p95 = (float(q) for q in np.percentile(times_us, (50, 95)))
    return Latency(p50, p95, len(times_us), histogram.to_data(), tuple(times_us.tolist()))
