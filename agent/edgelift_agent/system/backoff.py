"""Delays between tries: exponential, capped, and spread by chance so that a fleet doesn't knock in step."""

from __future__ import annotations

import random
from collections.abc import Iterator


def delays(first_s: float = 1.0, cap_s: float = 60.0, *, rng: random.Random | None = None) -> Iterator[float]:
    """Endless delays, seconds: each between half and the whole of first_s, 2·first_s, 4·first_s … to cap_s."""
    rng = rng or random.Random()  # noqa: S311 - spreading load, not guarding a secret
    ceiling = first_s
    while True:
        yield rng.uniform(ceiling / 2, ceiling)
        ceiling = min(cap_s, ceiling * 2)
