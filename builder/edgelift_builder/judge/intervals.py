"""95 % confidence intervals for what an evaluation can tell.

- `tango`: the difference of two proportions on the *same* samples: T. Tango, "Equivalence test and confidence
  interval for the difference in proportions for the paired-sample design", Statistics in Medicine 17 (1998)
  891–908. Recommended for paired data by Fagerland, Lydersen and Laake, "Recommended tests and confidence
  intervals for paired binomial proportions", Statistics in Medicine 33 (2014) 2850–2875: near its nominal
  coverage also when few samples differ, which is where a good quantisation lies.
- `wilson`: one proportion: E. B. Wilson, Journal of the American Statistical Association 22 (1927) 209–212.
- `median`: a median, by the order statistics that no distribution moves: H. A. David and H. N. Nagaraja, "Order
  Statistics", 3rd edition (2003), section 7.1; the ranks from the normal approximation of the binomial.
- `mean_t`: a mean of paired differences that are not just 0 and 1, by Student's t.
"""

from __future__ import annotations

from collections.abc import Callable
from math import floor, inf, sqrt

import numpy as np
import numpy.typing as npt

#: Two-sided 95 %: the 97.5 % quantile of the standard normal distribution.
Z = 1.959963984540054


def tango(lost: int, gained: int, n: int) -> tuple[float, float]:
    """Interval of `(lost - gained) / n` from the pairs that differ.

    Args:
        lost: samples that the float model has right and the artifact wrong.
        gained: the other way round.
        n: all samples, at least one.

    Returns:
        `(low, high)` in [-1, 1]. Law: `tango(b, c, n) == -reversed(tango(c, b, n))`.
    """
    estimate = (lost - gained) / n
    low = _bisect(lambda d: _tango_score(lost, gained, n, d) - Z, -1.0, estimate)
    high = _bisect(lambda d: _tango_score(lost, gained, n, d) + Z, estimate, 1.0)
    return low, high


def tango_samples(lost: int, gained: int, n: int, most: float) -> int | None:
    """How many samples it takes until `tango`'s upper end is at most `most`, were pairs to differ as often as in these
    `n`; None when no number would do, or more than a million.
    """

    def holds(count: int) -> bool:
        return tango(round(lost * count / n), round(gained * count / n), count)[1] <= most

    low, high = n, n
    while not holds(high):
        low, high = high, 2 * high
        if high > MOST_SAMPLES:
            return None
    while high - low > max(1, high // 100):
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


MOST_SAMPLES = 1_000_000


def _tango_score(b: int, c: int, n: int, difference: float) -> float:
    """Tango's score for a supposed difference: falls as the difference grows; 0 at the estimate."""
    nuisance = tango_nuisance(b, c, n, difference)
    variance = n * (2 * nuisance + difference * (1 - difference))
    distance = b - c - n * difference
    if variance <= 0:
        return 0.0 if distance == 0 else inf if distance > 0 else -inf
    return float(distance / sqrt(variance))


def tango_nuisance(b: int, c: int, n: int, difference: float) -> float:
    """The likeliest probability of a gained pair if the true difference is `difference` (Tango 1998, eq. 8)."""
    first = 2 * n
    second = -b - c + (2 * n - b + c) * difference
    third = -c * difference * (1 - difference)
    return (sqrt(max(second * second - 4 * first * third, 0.0)) - second) / (2 * first)


def _bisect(falling: Callable[[float], float], low: float, high: float) -> float:
    # A score may be infinite or undefined at an end, so the search goes by sign alone, to 2**-60.
    for _ in range(60):
        middle = (low + high) / 2
        if falling(middle) > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def wilson(right: int, n: int) -> tuple[float, float]:
    """Interval of the proportion `right / n`; `(low, high)` in [0, 1]."""
    share, z2 = right / n, Z * Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def median(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Interval of the median of `values: float64[n]`, n at least 1; the whole range when n < 6."""
    ordered, n = np.sort(values), len(values)
    below = max(0, floor((n - Z * sqrt(n)) / 2)) if n >= 6 else 0
    return float(ordered[below]), float(ordered[n - 1 - below])


def mean_t(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Interval of the mean of `values: float64[n]`; the whole line when n < 2."""
    n = len(values)
    if n < 2:
        return -inf, inf
    from scipy.stats import t

    half = float(t.ppf(0.975, n - 1)) * float(values.std(ddof=1)) / sqrt(n)
    mean = float(values.mean())
    return mean - half, mean + half
