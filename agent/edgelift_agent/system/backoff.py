"""Delays between tries: exponential, capped, and spread by chance so that a fleet doesn't knock in step."""

from __future__ import annotations

import random
from collections.abc import Iterator

from edgelift_contract.errors import EdgeliftError

#: The most that the other side may ask to be left alone, seconds: a portal's word must not end a device's updates.
RETRY_AFTER_CAP_S = 300.0


def delays(first_s: float = 1.0, cap_s: float = 60.0, *, rng: random.Random | None = None) -> Iterator[float]:
    """Endless delays, seconds: each between half and the whole of first_s, 2·first_s, 4·first_s … to cap_s."""
    rng = rng or random.Random()  # noqa: S311 - spreading load, not guarding a secret
    ceiling = first_s
    while True:
        yield rng.uniform(ceiling / 2, ceiling)
        ceiling = min(cap_s, ceiling * 2)


def after(error: EdgeliftError, delay_s: float) -> float:
    """How long to wait after a failure, seconds: the delay, or longer where the other side asked for it."""
    return max(delay_s, min(getattr(error, "retry_after_s", 0.0), RETRY_AFTER_CAP_S))
