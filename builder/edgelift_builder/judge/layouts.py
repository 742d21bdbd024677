"""How a detector's candidates stand in its outputs, told from the float model's answers; each for A candidates of C classes.

- one output `[n, A, 4 + C]`, or `[n, 4 + C, A]`: box, then a score for each class; or `4 + 1 + C`: box, is there
  anything, and of which class;
- one output `[n, k, 6]` or `[n, k, 7]` after the model's own suppression: box, score, class (or class, score; or the
  picture's number and those), also with another k for every picture, or with a further axis of length 1;
- several: boxes `[n, A, 4]`, scores `[n, A]` or `[n, A, C]`, classes `[n, A]` where scores are of one class, also ragged.

Scores are shares, or logits that a sigmoid or soft-max makes shares; one of the classes may be *nothing*, the first or
the last.
Where several readings are possible the caller chooses, by labels if there are any (see `detection`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from edgelift_builder import ragged
from edgelift_builder.data import Array, DataSet, is_text
from edgelift_builder.judge import boxes
from edgelift_builder.judge.boxes import Corners, Found
from edgelift_builder.judge.case import numbers

#: Outputs → all candidates of every picture, boxes as the model says them.
Take = Callable[[DataSet], Iterator[Found]]


@dataclass(frozen=True)
class Layout:
    """One way to read a detector's outputs.

    Attributes:
        words: for people.
        take: see `Take`.
        suppress: does the model leave it to others to choose among boxes that overlap.
        looks_at: the outputs it reads.
        corners: what the four numbers of a box are.
    """

    words: str
    take: Take
    suppress: bool
    looks_at: tuple[str, ...]
    corners: Corners = "corners"


def detections(outputs: DataSet, how: Layout) -> list[Found]:
    """The objects of every picture, boxes as corners, the best first."""
    found = (boxes.as_corners(boxes.confident(one), how.corners) for one in how.take(outputs))
    return [boxes.suppressed(one) if how.suppress else one for one in found]


def readings(outputs: DataSet, *, known: bool) -> list[Layout]:
    """Every way that the outputs can be read, the likeliest first; `known`: does somebody say that they are a detector's."""
    plain = {n: a for n, a in outputs.items() if not is_text(a)}
    chosen = list(_chosen(plain))
    rest = {n: a for n, a in plain.items() if not any(n in how.looks_at for how in chosen)}
    return [*chosen, *_apart(plain), *_dense(rest, known)]


def likeliest(outputs: DataSet, *, known: bool) -> Layout | None:
    """The likeliest reading, boxes as corners where nearly all that are detected can be that, else as centre and size; None
    where the outputs don't look like a detector's: boxes beside scores that are shares.
    """
    for how in readings(outputs, known=known):
        if "logits" in how.words and not known:
            continue
        there = [boxes.confident(found).boxes for found in how.take(outputs)]
        judged = np.concatenate(there) if there else np.empty((0, 4))
        if not len(judged):
            judged = np.concatenate([found.boxes for found in how.take(outputs)])
        return how if boxes.can_be_corners(judged) else _with(how, "centre and size")
    return None


def every_kind_of_box(how: Layout) -> list[Layout]:
    """A reading with boxes as everything that they might be."""
    kinds: tuple[Corners, ...] = ("corners", "centre and size", "corner and size", "corners, y before x")
    return [_with(how, kind) for kind in kinds]


def _with(how: Layout, corners: Corners) -> Layout:
    return Layout(f"{how.words}, boxes as {corners}", how.take, how.suppress, how.looks_at, corners)


#: Columns of box, score and class after a model's own suppression, by the number of columns.
_CHOSEN: dict[int, tuple[tuple[int, int, int], ...]] = {
    6: ((0, 4, 5), (0, 5, 4)),
    7: ((1, 6, 5), (1, 5, 6), (3, 2, 1)),
}


def _chosen(outputs: DataSet) -> Iterator[Layout]:
    for name, array in outputs.items():
        pictures = [_rows(sample) for sample in array]
        widths = {rows.shape[-1] if rows.ndim == 2 else 0 for rows in pictures}
        for box, score, kind in _CHOSEN.get(widths.pop(), ()) if len(widths) == 1 else ():
            every = np.concatenate(pictures)
            if _are_shares(every[:, score]) and _are_kinds(every[:, kind]) and not _are_kinds(every[:, score]):
                yield Layout(f"{name}: box, score and class", _take_chosen(name, box, score, kind), False, (name,))


def _rows(sample: Array) -> Array:
    rows = numbers(sample)
    return rows[0] if rows.ndim == 3 and len(rows) == 1 else rows


def _take_chosen(name: str, box: int, score: int, kind: int) -> Take:
    def take(outputs: DataSet) -> Iterator[Found]:
        for sample in outputs[name]:
            rows = _rows(sample)
            yield Found(rows[:, box : box + 4], rows[:, score], rows[:, kind].round().astype(np.int64))

    return take


def _dense(outputs: DataSet, known: bool) -> Iterator[Layout]:
    for name, array in outputs.items():
        if ragged.is_ragged(array) or array.ndim != 3 or array.dtype.kind != "f":
            continue
        for axis in (2, 1):
            if array.shape[axis] < 5 or array.shape[3 - axis] < 2:
                continue
            table = np.moveaxis(array, axis, 2)
            if known or (_are_shares(table[..., 4:]) and _are_wider(table[..., :4])):
                yield from _of_table(name, table, axis)


def _of_table(name: str, table: Array, axis: int) -> Iterator[Layout]:
    def rows(outputs: DataSet) -> Iterator[tuple[Array, Array]]:
        return ((numbers(one)[:, :4], numbers(one)[:, 4:]) for one in np.moveaxis(outputs[name], axis, 2))

    def product(outputs: DataSet) -> Iterator[tuple[Array, Array]]:
        return ((box, scores[:, :1] * scores[:, 1:]) for box, scores in rows(outputs))

    count = table.shape[2] - 4
    for words, shares in _shares_of(table[..., 4:]):
        yield Layout(f"{name}: boxes and {count} class scores{words}", _take(rows, shares), True, (name,))
    if count > 1 and _are_shares(table[..., 4:]):
        words = f"{name}: boxes, whether there is anything, and {count - 1} class scores"
        yield Layout(words, _take(product, lambda scores: scores), True, (name,))


def _apart(outputs: DataSet) -> Iterator[Layout]:
    for name, array in outputs.items():
        if any(_bare(sample).shape[-1:] != (4,) or _bare(sample).ndim != 2 for sample in array):
            continue
        beside = {n: a for n, a in outputs.items() if n != name and _as_many(array, a)}
        kinds = [n for n, a in beside.items() if all(np.ndim(_bare(s)) == 1 and _are_kinds(_bare(s)) for s in a)]
        for scores, column in beside.items():
            if scores not in kinds and all(np.asarray(s).dtype.kind == "f" for s in column):
                yield from _beside(name, scores, next(iter(kinds), None), outputs)


def _bare(sample: Array) -> Array:
    """Without axes of length 1 between the candidates' and the last."""
    one = np.asarray(sample)
    return one.reshape(len(one), *(n for n in one.shape[1:] if n != 1)) if one.ndim > 1 else one


def _as_many(array: Array, other: Array) -> bool:
    return len(array) == len(other) and all(
        np.ndim(o) in (1, 2, 3) and len(o) == len(a) for a, o in zip(array, other, strict=True)
    )


def _beside(name: str, scores: str, kinds: str | None, outputs: DataSet) -> Iterator[Layout]:
    every = np.concatenate([_bare(sample) for sample in outputs[scores]])

    def chosen(found: DataSet) -> Iterator[Found]:
        for box, score, kind in zip(found[name], found[scores], found[kinds or name], strict=True):
            yield Found(
                numbers(_bare(box)), numbers(_bare(score)), np.asarray(_bare(kind)).round().astype(np.int64)
            )

    def rows(found: DataSet) -> Iterator[tuple[Array, Array]]:
        for box, score in zip(found[name], found[scores], strict=True):
            yield numbers(_bare(box)), numbers(score).reshape(len(score), -1)

    if every.ndim == 1 and kinds is not None:
        if _are_shares(every):
            yield Layout(f"boxes {name}, scores {scores}, classes {kinds}", chosen, False, (name, scores, kinds))
        return
    for words, shares in _shares_of(every.reshape(len(every), -1)):
        yield Layout(f"boxes {name}, scores {scores}{words}", _take(rows, shares), True, (name, scores))


def _take(rows: Callable[[DataSet], Iterator[tuple[Array, Array]]], shares: Callable[[Array], Array]) -> Take:
    def take(outputs: DataSet) -> Iterator[Found]:
        for box, scores in rows(outputs):
            made = shares(scores)
            yield Found(box, made.max(-1), made.argmax(-1))

    return take


def _shares_of(scores: Array) -> Iterator[tuple[str, Callable[[Array], Array]]]:
    """What may make a share of every class of `scores[..., classes]`, in words and as a function."""
    many = scores.shape[-1] > 1
    if _are_shares(scores):
        yield "", lambda s: s
        if many and np.allclose(scores.sum(-1), 1, atol=1e-2):
            yield ", the last of them nothing", lambda s: s[..., :-1]
            yield ", the first of them nothing", lambda s: _first_nothing(s)
        return
    yield " as logits", lambda s: 1 / (1 + np.exp(-s))
    if many:
        yield " as logits, the last of them nothing", lambda s: _soft_max(s)[..., :-1]
        yield " as logits, the first of them nothing", lambda s: _first_nothing(_soft_max(s))


def _first_nothing(shares: Array) -> Array:
    """Classes keep their numbers: labels count from 1 then."""
    return np.concatenate([np.zeros_like(shares[..., :1]), shares[..., 1:]], axis=-1)


def _soft_max(logits: Array) -> Array:
    grown = np.exp(logits - logits.max(-1, keepdims=True))
    made: Array = grown / grown.sum(-1, keepdims=True)
    return made


def _are_wider(box: Array) -> bool:
    """Do they leave the range of shares, as boxes in pixels do."""
    return float(np.abs(box).max(initial=0)) > 1.5


def _are_shares(scores: Array) -> bool:
    return bool((scores >= -1e-3).all() and (scores <= 1 + 1e-3).all())


def _are_kinds(values: Array) -> bool:
    """Whole numbers from -1, which some write into rows that hold nothing."""
    array = np.asarray(values)
    return array.dtype.kind in "fiu" and bool((array == np.round(array)).all() and (array >= -1).all())
