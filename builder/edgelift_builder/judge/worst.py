"""Where an artifact lies furthest from float: the output and channel, and the samples whose answers moved most.

It decides nothing; it is where a person would look first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgelift_builder import ragged
from edgelift_builder.data import Array, DataSet
from edgelift_builder.judge import agreement

#: Samples that are named.
MOST_SAMPLES = 5


@dataclass(frozen=True)
class Moved:
    """One sample.

    Attributes:
        sample: its number among those that judge, from 0.
        error: root mean square of its differences, per cent of the channels' variation.
    """

    sample: int
    error: float


@dataclass(frozen=True)
class Worst:
    """What lies furthest from float.

    Attributes:
        output, channel: where, as `scores` and `axis 1, channel 5`.
        error: relative error of that channel, per cent of its variation over the samples; see `agreement`.
        samples: those that moved most, over all outputs, the worst first.
    """

    output: str
    channel: str
    error: float
    samples: tuple[Moved, ...]


def find(outputs: DataSet, reference: DataSet) -> Worst | None:
    """The worst of all outputs of numbers; None where there are none, or nothing moved."""
    compared = [name for name, wanted in reference.items() if _comparable(wanted)]
    if not compared:
        return None
    found = [(name, *agreement.worst_channel(outputs[name], reference[name])) for name in compared]
    output, channel, error = max(found, key=lambda one: one[2])
    if not error:
        return None
    return Worst(output, channel, error, tuple(_moved(outputs, reference, compared)))


def _comparable(wanted: Array) -> bool:
    return not ragged.is_ragged(wanted) and np.issubdtype(wanted.dtype, np.floating) and wanted.size > 0


def _moved(outputs: DataSet, reference: DataSet, names: list[str]) -> Iterator[Moved]:
    each = np.sqrt(np.mean([agreement.by_sample(outputs[name], reference[name]) for name in names], axis=0))
    for sample in np.argsort(-each, kind="stable")[:MOST_SAMPLES]:
        if each[sample] > 0:
            yield Moved(int(sample), round(100 * float(each[sample]), 4))
