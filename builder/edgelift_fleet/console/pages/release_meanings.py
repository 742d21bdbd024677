"""What a release's source told of its numbers and of itself, as a page shows it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from edgelift_contract.meaning import in_words, metadata_text
from edgelift_contract.text import clean
from edgelift_fleet.messages import ReleaseMeaning

#: Names of classes that a page lists; the page's JSON has them all in `detail`.
LISTED = 1000


class TensorLine(msgspec.Struct, frozen=True):
    """An input or output of which something was told.

    Attributes:
        side: `input` or `output`.
        says: what its numbers mean, in short phrases.
        labels: its names, the first of them; `more` how many follow.
    """

    side: str
    name: str
    says: list[str]
    labels: list[str]
    more: int


class ReleaseWords(msgspec.Struct, frozen=True):
    """What was told: of tensors, and the free table, name and value."""

    tensors: list[TensorLine]
    metadata: list[tuple[str, str]]


def words_of(told: Iterable[ReleaseMeaning]) -> list[ReleaseWords]:
    """All that was told, harmless to show."""
    return [
        ReleaseWords(
            [
                TensorLine(
                    side, clean(name), in_words(meaning), [clean(label) for label in meaning.labels[:LISTED]],
                    max(0, len(meaning.labels) - LISTED),
                )
                for side, tensors in (("input", one.inputs), ("output", one.outputs))
                for name, meaning in tensors.items()
            ],
            [(key, metadata_text(value)) for key, value in one.metadata.items()],
        )
        for one in told
    ]  # fmt: skip
