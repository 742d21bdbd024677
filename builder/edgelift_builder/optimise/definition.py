"""The plain definition of weight quantisation, `W_q = round(W · Q)`, against which the runtimes' are checked.

    s   = max|W| / q_max            over each group of weights that shares a scale; 1 where the group is all zero
    Q   = 1 / s                     the quantisation scale's inverse
    W_q = round(W · Q)              half to even; integers in [-q_max, q_max], q_max = 2^(bits-1) - 1
    W'  = W_q · s                   what the kernels compute with

Symmetric, without a zero point: 0.0 stays exactly 0, and the lowest integer is left out (-128 in int8), which
kernels without a dot product add up wrongly (onnxruntime#31573). Error bound, from rounding alone:
|W - W'| ≤ s/2 for every weight, up to the rounding of float32.

Source: B. Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", CVPR 2018, section 2.1, with the zero point left at 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from edgelift_builder.data import Array

BITS = range(2, 9)


@dataclass(frozen=True)
class PerTensor:
    """One scale for all: `[64, 32, 3, 3]` → `[1, 1, 1, 1]`."""

    def scale_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """One element, of the same rank."""
        return (1,) * len(shape)


@dataclass(frozen=True)
class PerChannel:
    """One scale for each index along `axis`: `[64, 32, 3, 3]` with axis 0 → `[64, 1, 1, 1]`."""

    axis: int = 0

    def scale_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Ones but for `axis`."""
        at = self.axis % len(shape)
        return tuple(n if i == at else 1 for i, n in enumerate(shape))


@dataclass(frozen=True)
class PerGroup:
    """One scale for each `size` weights along `axis`: `[128, 768]` with size 32, axis 1 → `[128, 24]`.

    A last group may be short: `[128, 70]` → `[128, 3]`.
    """

    size: int
    axis: int = -1

    def scale_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape with `axis` divided by `size`, rounded up."""
        at = self.axis % len(shape)
        return tuple(-(-n // self.size) if i == at else n for i, n in enumerate(shape))


Granularity: TypeAlias = PerTensor | PerChannel | PerGroup


@dataclass(frozen=True)
class Quantised:
    """Quantised weights.

    Attributes:
        values: int8, of the weights' shape, each in [-q_max, q_max].
        scale: float32, of the granularity's scale shape, above 0.
        granularity: which weights share a scale.
    """

    values: Array
    scale: Array
    granularity: Granularity


def q_max(bits: int) -> int:
    """The largest integer: 127 for 8 bits, 7 for 4, 1 for 2.

    Raises:
        ValueError: bits outside 2 to 8.
    """
    if bits not in BITS:
        raise ValueError(f"weights are quantised to 2 to 8 bits, not to {bits}")
    return int(2 ** (bits - 1)) - 1


def quantise(weights: Array, granularity: Granularity, bits: int = 8) -> Quantised:
    """`W_q = round(W · Q)`; see the module's formulas.

    Args:
        weights: finite floats of any shape but `[]`.
        granularity: which of them share a scale.
        bits: 2 to 8.

    Raises:
        ValueError: NaN or infinity among the weights, or bits outside 2 to 8.
    """
    if not np.isfinite(weights).all():
        raise ValueError("weights hold NaN or infinity")
    peak = _peak(np.abs(weights.astype(np.float32)), granularity)
    scale = peak / np.float32(q_max(bits))
    scale = np.where(scale > np.finfo(np.float32).tiny, scale, np.float32(1.0)).astype(np.float32)
    spread = _spread(scale, weights.shape, granularity)
    values = np.clip(np.rint(weights / spread), -q_max(bits), q_max(bits)).astype(np.int8)
    return Quantised(values, scale, granularity)


def dequantise(quantised: Quantised) -> Array:
    """`W' = W_q · s`, float32, of the weights' shape."""
    spread = _spread(quantised.scale, quantised.values.shape, quantised.granularity)
    whole: Array = quantised.values.astype(np.float32) * spread
    return whole


def error_bound(quantised: Quantised) -> Array:
    """Most that each weight may be off: half its scale, and the rounding of float32; of the weights' shape."""
    spread = _spread(quantised.scale, quantised.values.shape, quantised.granularity)
    bound: Array = spread * (0.5 + 128 * np.finfo(np.float32).eps)
    return bound


def _peak(magnitudes: Array, granularity: Granularity) -> Array:
    shape = magnitudes.shape
    if isinstance(granularity, PerGroup):
        at = granularity.axis % len(shape)
        starts = np.arange(0, shape[at], granularity.size)
        grouped: Array = np.maximum.reduceat(magnitudes, starts, axis=at)
        return grouped
    axes = tuple(i for i, n in enumerate(granularity.scale_shape(shape)) if n == 1)
    peak: Array = magnitudes.max(axis=axes, keepdims=True) if axes else magnitudes
    return peak


def _spread(scale: Array, shape: tuple[int, ...], granularity: Granularity) -> Array:
    """The scale of every weight, in a form that broadcasts to `shape`."""
    if not isinstance(granularity, PerGroup):
        return scale
    at = granularity.axis % len(shape)
    return np.repeat(scale, granularity.size, axis=at).take(np.arange(shape[at]), axis=at)
