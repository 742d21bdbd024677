"""Message types made ready before threads begin.

msgspec learns how to decode a type when it first has to, and lets other threads see what it has learned so far: two
threads that decode a type for the first time at the same moment can end the process with a segmentation fault (seen
with msgspec 0.22.0 on CPython 3.11; `tests/contract/test_message_types.py` shows it). An agent's or a server's threads
do just that when they start, so whoever starts threads asks for everything to be learned first.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec


def prepare_message_types() -> list[type[msgspec.Struct]]:
    """Have msgspec learn every message type of edgelift's that is imported by now; a few milliseconds.

    Returns:
        The types.
    """
    kinds = list(_subclasses(msgspec.Struct))
    for kind in kinds:
        msgspec.json.Decoder(kind)
    return kinds


def _subclasses(base: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for kind in base.__subclasses__():
        if kind.__module__.startswith("edgelift"):
            yield kind
        yield from _subclasses(kind)
