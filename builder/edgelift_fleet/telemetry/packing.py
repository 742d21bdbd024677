"""Histograms as they are stored: a few bytes that merge by the thousand.

A `Part` is one histogram: its counts are plain bytes of 1, 2, 4 or 8 each, so that numpy reads and joins thousands at
once. Times are whole thousandths of the unit, as the wire form has them: then sums are exact in whatever order they are
made. A body is the parts of the phases, in the order of `STORED`, in MessagePack.

Law: joining parts and then reading equals `Histogram.merge` of what they were made of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edgelift_contract.histogram import MAX_SCALE, MIN_SCALE, Histogram, HistogramData
from edgelift_contract.telemetry import LatencyPhase

#: The order of phases in a body. A format: append only.
STORED: tuple[LatencyPhase, ...] = ("total", "infer", "queue", "decode", "encode")

#: How counts are written: bytes of each → numpy's type.
TYPES: Mapping[int, np.dtype[Any]] = {
    1: np.dtype("<u1"),
    2: np.dtype("<u2"),
    4: np.dtype("<u4"),
    8: np.dtype("<i8"),
}
#: Agents record at scale 4. Anything finer would grow, joined over all latencies that there are, to megabytes.
FINEST = 6
#: Thousandths beyond this are kept as a float: MessagePack's integers end at 2^63.
LARGEST = 2**62


class Part(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A histogram as stored. `counts` are little-endian integers of `width` bytes; `total`, `low` and `high` are
    thousandths of the unit when integers, else plain.
    """

    scale: int
    offset: int
    width: int
    counts: bytes
    zeros: int
    total: int | float
    low: int | float
    high: int | float

    def __post_init__(self) -> None:
        if self.width not in TYPES or len(self.counts) % self.width or not MIN_SCALE <= self.scale <= MAX_SCALE:
            raise ValueError("no histogram has this form")

    @property
    def values(self) -> npt.NDArray[np.int64]:
        """The counts: int64[n]."""
        counts: npt.NDArray[Any] = np.frombuffer(self.counts, TYPES[self.width])
        return counts.astype(np.int64)

    @property
    def count(self) -> int:
        """How many values were recorded."""
        return self.zeros + int(self.values.sum())


_Body = list[Part | None]
_decoder = msgspec.msgpack.Decoder(_Body)
_encoder = msgspec.msgpack.Encoder()


def width_for(largest: int) -> int:
    """How many bytes a count needs: 1, 2, 4 or 8."""
    return 1 if largest < 1 << 8 else 2 if largest < 1 << 16 else 4 if largest < 1 << 32 else 8


def pack_part(data: HistogramData) -> Part:
    """A histogram from the wire as a part; no finer than `FINEST`."""
    if data.scale > FINEST:
        coarser = Histogram(FINEST)
        coarser.merge(Histogram.from_data(data))
        data = coarser.to_data()
    counts = data.counts
    largest = max(counts, default=0)
    width = width_for(largest)
    raw = bytes(counts) if width == 1 else np.array(counts, TYPES[width]).tobytes()
    return Part(
        data.scale, data.offset, width, raw, data.zeros, _exact(data.total), _exact(data.low), _exact(data.high)
    )


def pack(latency_us: Mapping[LatencyPhase, HistogramData]) -> bytes:
    """A window's histograms as a body."""
    return _encoder.encode([pack_part(latency_us[phase]) if phase in latency_us else None for phase in STORED])


def pack_parts(parts: Mapping[LatencyPhase, Part]) -> bytes:
    """Parts as a body."""
    return _encoder.encode([parts.get(phase) for phase in STORED])


def unpack(body: bytes) -> dict[LatencyPhase, Part]:
    """The parts of a body by phase; none for one that can't be read: it costs itself."""
    return {phase: part for phase, part in zip(STORED, _read(body), strict=False) if part is not None}


def parts_of(bodies: Iterable[bytes], phase: LatencyPhase) -> list[Part]:
    """The parts of one phase in many bodies."""
    place = STORED.index(phase)
    return [part for one in map(_read, bodies) if place < len(one) and (part := one[place]) is not None]


def read_bodies(bodies: Iterable[bytes]) -> list[list[Part | None]]:
    """The parts of each body, in the order of `STORED`; none for one that can't be read."""
    return list(map(_read, bodies))


def by_phase(bodies: Iterable[bytes]) -> dict[LatencyPhase, list[Part]]:
    """The parts of many bodies, by phase."""
    found: dict[LatencyPhase, list[Part]] = {}
    for one in map(_read, bodies):
        for phase, part in zip(STORED, one, strict=False):
            if part is not None:
                found.setdefault(phase, []).append(part)
    return found


def is_whole(body: bytes) -> bool:
    """Can a body be read?"""
    return can_read(_decoder, body)


def can_read(decoder: msgspec.msgpack.Decoder[Any], body: bytes) -> bool:
    """Can a body of any form be read by its decoder?"""
    try:
        decoder.decode(body)
    except msgspec.MsgspecError:
        return False
    return True


def _read(body: bytes) -> _Body:
    try:
        return _decoder.decode(body)
    except msgspec.MsgspecError:
        return []


def to_data(part: Part) -> HistogramData:
    """A part in the wire form."""
    return HistogramData(
        part.scale,
        part.offset,
        part.values.tolist(),
        part.zeros,
        plain(part.total),
        plain(part.low),
        plain(part.high),
    )


def to_histogram(part: Part) -> Histogram:
    """A part as a histogram that grows."""
    return Histogram.from_data(to_data(part))


def _exact(value: float) -> int | float:
    return round(value * 1000) if abs(value) < LARGEST / 1000 else float(value)


def plain(value: int | float) -> float:
    """A part's `total`, `low` or `high` in the histogram's unit."""
    return value / 1000 if isinstance(value, int) else value
