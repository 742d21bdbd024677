"""Detectors of every layout: read by the labels that float is right by, and without labels by what looks like boxes."""

from __future__ import annotations

import numpy as np
import pytest

from edgelift_builder import ragged
from edgelift_builder.data import Array, DataSet
from edgelift_builder.judge import layouts, panel, telling
from edgelift_contract.errors import ContractError
from tests.builder.judging import case, judged, one_hot

pytestmark = pytest.mark.builder

DRAWN = np.random.default_rng(1)


def objects(count: int = 100) -> list[tuple[Array, Array]]:
    """For each picture corners [3, 4] far from each other, and classes."""
    made = []
    for _ in range(count):
        low = DRAWN.uniform(0, 20, (3, 2)) + np.array([[0, 0], [100, 0], [0, 100]])
        made.append((np.concatenate([low, low + DRAWN.uniform(20, 40, (3, 2))], axis=1), DRAWN.integers(0, 3, 3)))
    return made


def candidates(found: list[tuple[Array, Array]], *, places: int = 20) -> tuple[Array, Array]:
    """Corners [n, places, 4] and shares of classes [n, places, 3]: objects among places that hold nothing."""
    boxes, shares = np.zeros((len(found), places, 4)), np.full((len(found), places, 3), 0.02)
    for i, (box, kind) in enumerate(found):
        there = DRAWN.choice(places, 3, replace=False)
        boxes[i, there], shares[i, there] = box, 0.02 + 0.9 * one_hot(kind, 3)
    return boxes, shares


def centred(box: Array) -> Array:
    return np.concatenate([(box[..., :2] + box[..., 2:]) / 2, box[..., 2:] - box[..., :2]], axis=-1)


def chosen(found: list[tuple[Array, Array]], order: tuple[int, ...]) -> list[Array]:
    rows = [np.column_stack([box, np.full(len(kind), 0.9), kind, np.zeros(len(kind))]) for box, kind in found]
    return [np.concatenate([r, [[*np.zeros(4), 0.0, -1, 0]]])[:, order].astype(np.float32) for r in rows]


def logit(shares: Array) -> Array:
    return np.log(shares / (1 - shares))


def nothing_last(shares: Array) -> Array:
    rest = 1 - shares.sum(-1, keepdims=True)
    return np.log(np.concatenate([shares, rest], axis=-1))


FOUND = objects()
BOX, SHARES = candidates(FOUND)
THERE = np.where(SHARES.max(-1) > 0.5, 0.95, 0.02)
CHOSEN = chosen(FOUND, (0, 1, 2, 3, 4, 5))

LAYOUTS: dict[str, DataSet] = {
    "one output": {"y": np.concatenate([BOX, SHARES], -1)},
    "one output, upright": {"y": np.moveaxis(np.concatenate([centred(BOX), SHARES], -1), 1, 2)},
    "anything, then which": {"y": np.concatenate([centred(BOX), THERE[..., None], SHARES / 0.92], -1)},
    "from 0 to 1": {"y": np.concatenate([BOX, SHARES], -1)},
    "chosen": {"y": np.stack(CHOSEN)},
    "chosen, class first": {"y": np.stack(chosen(FOUND, (0, 1, 2, 3, 5, 4)))},
    "chosen, with the picture's number": {"y": np.stack(chosen(FOUND, (6, 5, 4, 0, 1, 2, 3)))[:, None]},
    "chosen, of any number": {"y": ragged.of([rows[: 2 + i % 2] for i, rows in enumerate(CHOSEN)])},
    "apart": {"boxes": BOX, "scores": SHARES},
    "apart, further axis": {"boxes": BOX[:, :, None], "scores": SHARES},
    "apart, y first": {"boxes": BOX[..., [1, 0, 3, 2]], "scores": SHARES},
    "apart, corner and size": {"boxes": np.concatenate([BOX[..., :2], BOX[..., 2:] - BOX[..., :2]], -1), "scores": SHARES},
    "apart, logits": {"boxes": centred(BOX), "scores": logit(SHARES)},
    "apart, the last is nothing": {"logits": nothing_last(SHARES), "boxes": centred(BOX)},
    "classes apart": {
        "classes": SHARES.argmax(-1).astype(np.float32), "boxes": BOX, "scores": SHARES.max(-1), "count": np.full(100, 20.0),
    },
    "classes apart, of any number": {
        "boxes": ragged.of([b for b, _ in FOUND]), "labels": ragged.of([k for _, k in FOUND]),
        "scores": ragged.of([np.full(3, 0.9) for _ in FOUND]),
    },
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_detectors_of_every_layout_are_read_by_their_labels(layout: str) -> None:
    scale = 0.005 if layout == "from 0 to 1" else 1.0
    outputs = dict(LAYOUTS[layout])
    if scale != 1:
        outputs["y"] = np.concatenate([outputs["y"][..., :4] * scale, outputs["y"][..., 4:]], axis=-1)
    labels = {"boxes": ragged.of([b * scale for b, _ in FOUND]), "labels": ragged.of([k for _, k in FOUND])}
    first = judged(case(outputs, labels), outputs)[0]
    assert first.metric == "detection F1" and first.value > (0.85 if "any number" in layout else 0.99)
    turned = labels | {"labels": ragged.of([(k + 2) % 3 for _, k in FOUND])}
    assert first.loss == 0 and first.verdict != "fails"
    with pytest.raises(ContractError, match="always giving one answer"):
        panel.check_float(telling.judging(case(outputs, turned), ""), outputs)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if "logits" not in name and "nothing" not in name])
def test_detectors_without_labels_are_held_to_their_own_detections(layout: str) -> None:
    outputs = LAYOUTS[layout]
    how = layouts.likeliest(outputs, known=False)
    assert how is not None, "looks like a detector"
    found = layouts.detections(outputs, how)
    assert sum(len(picture.boxes) for picture in found) >= 0.8 * 3 * len(FOUND)
    assert judged(case(outputs), outputs)[0].metric == "detection agreement"


def test_boxes_of_other_pictures_do_not_choose_how_outputs_are_read() -> None:
    drawn = np.random.default_rng(3)
    outputs = {
        "boxes": drawn.uniform(0, 40, (100, 20, 4)).astype(np.float32),
        "scores": np.zeros((100, 20, 3), np.float32),
    }
    labels = {"boxes": ragged.of([b for b, _ in FOUND]), "labels": ragged.of([k for _, k in FOUND])}
    assert "boxes boxes, scores scores" in telling.judging(case(outputs, labels), "detection").metrics[0].words


@pytest.mark.parametrize("layout", ["apart", "one output", "chosen"])
def test_boxes_that_moved_fail_though_half_of_them_still_overlaps(layout: str) -> None:
    outputs = LAYOUTS[layout]
    labels = {"boxes": ragged.of([b for b, _ in FOUND]), "labels": ragged.of([k for _, k in FOUND])}
    name = next(iter(outputs))
    moved = outputs[name].copy()
    moved[..., [0, 2]] += 0.2 * (moved[..., [2]] - moved[..., [0]])
    found, exact = judged(case(outputs, labels), outputs | {name: moved})
    assert found.loss == 0 and exact.metric == "box overlap" and exact.verdict == "fails"
    near = outputs | {name: outputs[name] + DRAWN.normal(0, 0.1, outputs[name].shape) * (outputs[name] > 2)}
    assert judged(case(outputs, labels), near)[1].verdict == "holds"
