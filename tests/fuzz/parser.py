"""One parser that others feed: what it takes, and how it is called; and what it may do with what is spoilt."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgelift_contract.errors import EdgeliftError

#: What a parser may hold at once, bytes, of messages of at most so many: what unfolds without an end is a short message.
#: Longer ones are not measured: that takes ten times as long as reading them.
HELD_BYTES, MEASURED_BYTES = 48 << 20, 16 * 1024


@dataclass(frozen=True)
class Parser:
    """One parser.

    Attributes:
        name: for people.
        seeds: what it takes, made by our own code.
        call: it, on bytes; a folder of its own is there for what reads files.
        covers: the functions that decode on the way, as `module:function`.
        examples: how many spoilt messages it is given.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    call: Callable[[bytes, Path], object]
    covers: tuple[str, ...] = ()
    examples: int = 60


def withstands(parser: Parser, data: bytes, folder: Path) -> bool:
    """Give it these bytes: taken (True), or refused by an error of ours (False). Anything else is a failure."""
    if len(data) > MEASURED_BYTES:
        return _takes(parser, data, folder)
    tracemalloc.start()
    try:
        return _takes(parser, data, folder)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak <= HELD_BYTES, f"{parser.name} held {peak} bytes for {len(data)}"


def _takes(parser: Parser, data: bytes, folder: Path) -> bool:
    try:
        parser.call(data, folder)
    except EdgeliftError:
        return False
    return True
