"""Which axis counts the samples: of inputs by where example and evaluation differ, of outputs by asking."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgelift_builder import calls, data, ragged
from edgelift_builder.source import sample_axes, trial
from edgelift_builder.source.drawn import sample_axis
from edgelift_builder.source.file_model import Port
from edgelift_contract.errors import ContractError

pytestmark = pytest.mark.builder


def zeros(*shape: int) -> data.Array:
    return np.zeros(shape, np.float32)


STATE = {"x": zeros(300, 10, 8), "h": zeros(2, 300, 32)}
RATE = np.array(16000)


@pytest.mark.parametrize(
    ("example", "given", "axes"),
    [
        ({"x": (1, 16)}, {"x": zeros(300, 16)}, {"x": 0}),
        ({"x": (1, 10, 8), "h": (2, 1, 32)}, STATE, {"x": 0, "h": 1}),
        ({"x": (4, 10, 8), "h": (2, 4, 32)}, STATE, {"x": 0, "h": 1}),
        ({"x": (None, 10, 8), "h": (2, None, 32)}, STATE, {"x": 0, "h": 1}),
        ({"x": (1, 16), "rate": ()}, {"x": zeros(300, 16), "rate": RATE}, {"x": 0, "rate": None}),
        ({"x": (1, 16), "grid": (1, 5)}, {"x": zeros(300, 16), "grid": zeros(1, 5)}, {"x": 0, "grid": None}),
        ({"x": (7, 1, 5)}, {"x": zeros(7, 90, 5)}, {"x": 1}),
        ({"x": (8, 16)}, {"x": zeros(8, 16)}, {"x": 0}),
        ({"x": (None, 3, None, None)}, {"x": zeros(300, 3, 32, 48)}, {"x": 0}),
        ({"x": (2, 16), "h": (2, 1, 4)}, {"x": zeros(2, 16), "h": zeros(2, 2, 4)}, {"x": 0, "h": 1}),
        ({"x": (8,), "t": ()}, {"x": zeros(300, 8), "t": zeros(300)}, {"x": None, "t": None}),
    ],
)
def test_an_inputs_axis(
    example: Mapping[str, sample_axes.Shape], given: dict[str, data.Array], axes: dict[str, int | None]
) -> None:
    assert sample_axes.find(example, given) == axes


def test_columns_have_the_sample_first_and_calls_where_the_model_wants_it() -> None:
    state = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    given = {"x": zeros(3, 5), "h": state, "rate": RATE}
    shapes = {"x": (1, 5), "h": (2, 1, 4), "rate": ()}
    axes = sample_axes.find(shapes, given)
    columns = sample_axes.columns(given, axes, shapes, "evaluation inputs")
    assert {n: c.shape for n, c in columns.items()} == {"x": (3, 5), "h": (3, 2, 4), "rate": (3,)}
    call = calls.one(columns, 1, axes)
    assert {n: a.shape for n, a in call.items()} == {"x": (1, 5), "h": (2, 1, 4), "rate": ()}
    assert np.array_equal(call["h"], state[:, 1:2])
    both = calls.several(columns, 0, 2, axes)
    assert np.array_equal(both["h"], state[:, :2])
    again = calls.together(list(calls.each(columns, axes)), axes)
    assert all(np.array_equal(again[n], columns[n]) for n in columns)


def test_a_vector_alone_is_a_sample() -> None:
    given = {"x": np.arange(24, dtype=np.float32).reshape(3, 8), "t": np.arange(3), "rate": np.array(5)}
    shapes = {"x": (8,), "t": (), "rate": ()}
    axes = sample_axes.find(shapes, given)
    columns = sample_axes.columns(given, axes, shapes, "evaluation inputs")
    call = calls.one(columns, 1, axes)
    assert {n: a.shape for n, a in call.items()} == {"x": (8,), "t": (), "rate": ()}
    assert (call["x"][0], call["t"], call["rate"]) == (8.0, 1, 5)


@pytest.mark.parametrize(
    ("shape", "answers", "axis"),
    [
        ((1, 8), [(1, 3)], 0),
        ((None, 8), [(None, 3)], 0),
        ((2, 1, 8), [(1, 3), (2, 1, 8)], 1),
        ((1, None, 8), [(1, 3)], 0),
        ((2, None, 8), [(1, 3)], 1),
        ((8,), [(8,)], None),
        ((40, 16), [(4,)], None),
        ((40, 16), [(40, 3)], 0),
        ((), [(1, 3)], None),
    ],
)
def test_where_a_files_shapes_alone_show_the_samples(
    shape: sample_axes.Shape, answers: list[sample_axes.Shape], axis: int | None
) -> None:
    named = [Port(f"y{i}", "float32", given) for i, given in enumerate(answers)]
    port = Port("x", "float32", shape)
    assert sample_axis(port, [port], named) == axis


def test_numbers_of_samples_that_differ_are_told() -> None:
    given = {"x": zeros(300, 16), "y": zeros(200, 3)}
    shapes = {"x": (1, 16), "y": (1, 3)}
    with pytest.raises(ContractError, match=r"differ in their number of samples: \{'x': 300, 'y': 200\}"):
        sample_axes.columns(given, sample_axes.find(shapes, given), shapes, "evaluation inputs")


@pytest.mark.parametrize("are_calls", [False, True])
def test_samples_of_different_shapes_are_kept_and_stored(tmp_path: Path, are_calls: bool) -> None:
    sizes = [(3, 5), (4, 5), (3, 2)]
    listed: list[Any] = [np.full((1, *s) if are_calls else s, i, np.float32) for i, s in enumerate(sizes)]
    given = sample_axes.arrays({"x": listed, "t": torch.zeros(3, 2)})
    shapes = {"x": (1, 3, 5), "t": (1, 2)}
    columns = sample_axes.columns(given, sample_axes.find(shapes, given), shapes, "evaluation inputs")
    data.save(tmp_path / "x.npz", columns)
    for stored in (data.load(tmp_path / "x.npz"), _streamed(tmp_path / "x.npz")):
        assert ragged.is_ragged(stored["x"]) and [a.shape for a in stored["x"]] == sizes
        assert [float(a.max()) for a in stored["x"]] == [0, 1, 2]
        assert data.digest(stored) == data.digest(columns)
    assert calls.one(columns, 1, {})["x"].shape == (1, 4, 5)


def _streamed(path: Path) -> data.DataSet:
    parts = list(data.stream(path, 2))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_samples_of_different_kinds_are_refused() -> None:
    with pytest.raises(ContractError, match="float32 of 1 axis, int64 of 1 axis"):
        ragged.stack([np.zeros(2, np.float32), np.zeros(3, np.int64)])


def doubled(call: data.DataSet) -> data.DataSet:
    return {
        "y": 2 * call["x"],
        "state": np.moveaxis(np.stack([call["x"], call["x"]]), 0, 0),
        "version": np.ones(1),
    }


def test_an_outputs_axis_is_found_by_asking_for_two() -> None:
    samples = {"x": np.random.default_rng(0).random((5, 3)).astype(np.float32)}
    answers = trial.ask_all(doubled, samples, {"x": 0}, may_batch=True)
    assert answers.axes == {"y": 0, "state": 1, "version": None}
    assert answers.batch_free and answers.reference["state"].shape == (5, 2, 3)
    assert answers.shapes == {"y": [1, 3], "state": [2, 1, 3], "version": [1]}


@pytest.mark.parametrize(
    "ask",
    [
        lambda call: {"y": call["x"] - call["x"].mean()},  # each answer depends on the other sample
        lambda call: {"y": call["x"].reshape(1, -1)},  # two samples become one
        lambda call: {"y": np.array([call["x"][0, 0]])},  # the second is not looked at
    ],
)
def test_a_model_that_mixes_samples_takes_one_at_a_time(ask: trial.Ask) -> None:
    samples = {"x": np.random.default_rng(0).random((5, 3)).astype(np.float32)}
    assert not trial.ask_all(ask, samples, {"x": 0}, may_batch=True).batch_free


def test_a_model_that_chooses_rows_has_no_sample_axis() -> None:
    samples = {"x": np.array([[0.1, 0.9, 0.8], [0.9, 0.1, 0.1]], np.float32)}
    answers = trial.ask_all(
        lambda call: {"rows": np.argwhere(call["x"] > 0.5)}, samples, {"x": 0}, may_batch=False
    )
    assert answers.axes == {"rows": None} and answers.shapes == {"rows": [-1, 2]}
    assert [len(rows) for rows in answers.reference["rows"]] == [2, 1]
