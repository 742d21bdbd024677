"""How often each of a few things happened since the process began; safe to use from several threads."""

from __future__ import annotations

import threading
from collections import Counter


class Tally:
    """Counts by words, as `("refused", "pinned")`; whoever counts takes words of a bounded set."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, ...]] = Counter()

    def add(self, *words: str) -> None:
        """Count one more."""
        with self._lock:
            self._counts[words] += 1

    def counts(self) -> dict[tuple[str, ...], int]:
        """What was counted so far, by words."""
        with self._lock:
            return dict(sorted(self._counts.items()))
