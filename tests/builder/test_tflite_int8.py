"""TFLite in 8 bits: never worse than the plain recipe on the same samples, and files of every kind can be quantised."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgelift_builder import calls, data
from edgelift_builder.judge import agreement
from edgelift_builder.measure.litert import LitertSession
from edgelift_builder.optimise import (
    tflite_ends,
    tflite_int8,
    tflite_plan,
    tflite_prepare,
    tflite_ranges,
    tflite_weights,
)
from edgelift_builder.piece import Piece
from edgelift_builder.source.tflite_file import open_tflite
from edgelift_contract.errors import ContractError
from tests.builder import tflite_kinds as kinds
from tests.builder.tflite_files import Net, dense, weights

pytestmark = pytest.mark.builder
SETTINGS = {"calibration": "best", "revert": 4}


def samples(count: int = 200, seed: int = 1, rare: float = 1.0) -> data.DataSet:
    """`rare`: how many times as large one sample in twenty is."""
    x = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    x[::20] *= rare
    return {"x": x}


def quantised(
    net: Net,
    folder: Path,
    given: data.DataSet,
    axes: calls.Axes | None = None,
    *,
    holds: bool = False,
    **settings: Any,
) -> tuple[Piece, float]:
    """What the step makes of a file, and its worst channel's error on other samples than it calibrated with; `holds`: what
    the judge says of all of it in 8 bits.
    """
    (folder / "copy").mkdir(exist_ok=True)
    file = open_tflite(net.write(folder / "net.tflite"), folder / "copy", []).path
    half = data.length(given) // 2
    made = folder / "made"
    made.mkdir(exist_ok=True)
    chosen = SETTINGS | settings | {"axes": axes or {}}
    piece = tflite_int8.quantise(file, data.sample(given, 0, half), chosen, lambda _: holds, made)
    return piece, error(file, piece.model_path, data.sample(given, half, 2 * half), axes)


def error(file: Path, made: Path, given: data.DataSet, axes: calls.Axes | None = None) -> float:
    outputs = []
    for path in (file, made):
        session = LitertSession(path, 1, None, {})
        answers = [session.run(call) for call in calls.each(given, axes or {})]
        outputs.append({name: np.stack([a[name] for a in answers]) for name in answers[0]})
    return max(agreement.relative_error(outputs[1][n], a) for n, a in outputs[0].items() if a.dtype == np.float32)


def test_rare_values_are_not_cut_off(tmp_path: Path) -> None:
    """The quantiser's own calibration forgets a sample after some twenty others."""
    plain, off = quantised(kinds.signed(), tmp_path, samples(1000, rare=30.0), calibration="average")
    chosen, near = quantised(kinds.signed(), tmp_path, samples(1000, rare=30.0))
    assert near < 0.2 < 0.5 < off
    assert "Calibrated by" in chosen.remarks[0] and "average" in plain.remarks[0]
    assert {r.tensor for r in chosen.ranges} and all(sum(r.counts) for r in chosen.ranges)


def boxes_and_scores() -> Net:
    """Coordinates up to hundreds and shares in one output, joined after the last layers."""
    net, ws = Net(), weights(classes=8)
    net.tensor("x", (1, 8))
    hidden = dense(net, "x", "hidden", ws[0], ws[1], relu=True)
    heads = {}
    for name in ("boxes", "scores"):
        heads[name] = dense(net, hidden, f"{name}/raw", ws[2][:4] / 8, ws[3][:4])
        net.tensor(f"{name}/share", (1, 4))
        net.op("LOGISTIC", [heads[name]], [f"{name}/share"])
    net.tensor("boxes", (1, 4))
    net.op("MUL", ["boxes/share", net.constant("640", np.float32([640]))], ["boxes"], schema.MulOptionsT())
    net.tensor("y", (1, 8))
    join = schema.ConcatenationOptionsT()
    join.axis = 1
    net.op("CONCATENATION", ["boxes", "scores/share"], ["y"], join)
    net.ends(["x"], ["y"])
    return net


def test_scores_beside_pixels_are_not_crushed(tmp_path: Path) -> None:
    piece, near = quantised(boxes_and_scores(), tmp_path, samples())
    assert near < agreement.LIMIT / 100
    assert any("Left in float" in said for said in piece.remarks)
    model = tflite_prepare.prepare(tmp_path / "net.tflite")
    tail = tflite_prepare.tail(model)
    assert {"y;", "boxes;", "scores/share;"} <= {*tail} and "hidden;" not in tail
    assert [scope for scope, _ in tflite_prepare.layers(model)] == ["hidden;", "boxes/raw;", "scores/raw;"]


def test_nothing_stays_float_that_the_judge_does_not_ask_for(tmp_path: Path) -> None:
    piece, off = quantised(boxes_and_scores(), tmp_path, samples(), holds=True)
    assert off > agreement.LIMIT / 100
    assert len(piece.remarks) == 1 and "Calibrated by" in piece.remarks[0]


def masked() -> Net:
    """A mask of minus infinity is added to scores before their soft-max."""
    net, ws = Net(), weights(classes=4)
    net.tensor("x", (1, 8))
    scores = dense(net, dense(net, "x", "hidden", ws[0], ws[1], relu=True), "scores", ws[2] / 8, ws[3])
    net.tensor("masked", (1, 4))
    mask = net.constant("mask", np.array([[0, 0, 0, -np.inf]], np.float32))
    net.op("ADD", [scores, mask], ["masked"], schema.AddOptionsT())
    net.tensor("y", (1, 4))
    soft = schema.SoftmaxOptionsT()
    soft.beta = 1.0
    net.op("SOFTMAX", ["masked"], ["y"], soft)
    net.ends(["x"], ["y"])
    return net


def test_what_is_infinite_stays_float(tmp_path: Path) -> None:
    _, near = quantised(masked(), tmp_path, samples())
    assert near < agreement.LIMIT / 100


@pytest.mark.parametrize(
    "make", [kinds.plain, kinds.deprecated_codes, kinds.nameless, kinds.several_signatures, kinds.half_weights]
)
def test_files_of_every_kind_are_quantised(tmp_path: Path, make: Callable[[], Net]) -> None:
    given = samples()
    name = "input_0" if make is kinds.nameless else "x"
    piece, near = quantised(make(), tmp_path, {name: given["x"]})
    assert near < agreement.LIMIT / 100 and _narrow(piece.model_path) >= 2


def test_tokens_and_lengths_are_quantised(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    assert quantised(kinds.tokens(), tmp_path, {"ids": rng.integers(0, 20, (200, 5))})[1] < 0.1
    windows = {"x": rng.normal(size=(60, 9, 8)).astype(np.float32)}
    assert quantised(kinds.free_length(), tmp_path, windows)[1] < 0.2  # of a mean, which hardly varies


def test_what_has_no_narrow_form_is_told(tmp_path: Path) -> None:
    given = {"x": np.random.default_rng(0).normal(size=(20, 6, 8)).astype(np.float32)}
    with pytest.raises(ContractError, match=r"has a form with 8-bit activations.*UNIDIRECTIONAL_SEQUENCE_RNN"):
        quantised(kinds.variables(), tmp_path, given)


def test_two_inputs_one_with_its_samples_on_axis_1(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    given = {
        "x": rng.normal(size=(200, 8)).astype(np.float32),
        "h": rng.normal(size=(200, 2, 8)).astype(np.float32),
    }
    axes = {"x": 0, "h": 1}
    assert quantised(kinds.state(), tmp_path, given, axes)[1] < 0.1


def _narrow(path: Path) -> int:
    """How many weights are int8."""
    model = tflite_prepare.prepare(path)
    held = [t for g in model.subgraphs for t in g.tensors if model.buffers[t.buffer].data is not None]
    return sum(t.type == schema.TensorType.INT8 for t in held)


@pytest.mark.parametrize("kind", ["dynamic_wi8_afp32", "weight_only_wi8_afp32"])
@pytest.mark.parametrize("make", [kinds.plain, kinds.deprecated_codes, kinds.nameless, kinds.half_weights])
def test_weights_are_quantised_without_data(tmp_path: Path, make: Callable[[], Net], kind: str) -> None:
    (tmp_path / "copy").mkdir()
    file = open_tflite(make().write(tmp_path / "net.tflite"), tmp_path / "copy", []).path
    tflite_weights.quantise_weights(str(file), kind, "", {}, str(tmp_path / "made.tflite"))
    name = "input_0" if make is kinds.nameless else "x"
    assert _narrow(tmp_path / "made.tflite") == 2
    assert error(file, tmp_path / "made.tflite", {name: samples()["x"]}) < 0.05


def test_biases_take_up_what_narrow_weights_change_on_average(tmp_path: Path) -> None:
    """All inputs of one sign, as after a ReLU: the rounding errors of a channel's weights do not cancel out."""
    file, made = kinds.signed().write(tmp_path / "net.tflite"), tmp_path / "made.tflite"
    given = {"x": np.abs(samples(400)["x"]) + 3}
    data.save(tmp_path / "c.npz", data.sample(given, 0, 200))
    errors, sizes = [], []
    for file_of_samples in ("", str(tmp_path / "c.npz")):
        tflite_weights.quantise_weights(str(file), "weight_only_wi8_afp32", file_of_samples, {}, str(made))
        errors.append(error(file, made, data.sample(given, 200, 400)))
        sizes.append(made.stat().st_size)
    assert errors[1] < 0.7 * errors[0] and sizes[1] <= sizes[0] + 64


def test_a_calibration_that_there_is_not_is_named() -> None:
    with pytest.raises(ContractError, match=r"calibration of .* can't be 'best of all'"):
        tflite_int8.TfliteStaticInt8().settings({"calibration": "best of all"}, None)  # type: ignore[arg-type]  # refused before it is looked at


def two_outputs() -> Net:
    """The last operator reads an output of the graph, `hidden`."""
    net, ws = Net(), weights()
    net.tensor("x", (1, 8))
    hidden = dense(net, "x", "hidden", ws[0], ws[1], relu=True)
    dense(net, hidden, "y", ws[2], ws[3])
    net.ends(["x"], ["y", "hidden"])
    return net


def test_an_output_that_is_read_inside_too_is_both(tmp_path: Path) -> None:
    piece, near = quantised(two_outputs(), tmp_path, samples())
    assert near < agreement.LIMIT / 100 and _narrow(piece.model_path) == 2
    assert _ends(piece.model_path) == [("hidden", (1, 16), "float32"), ("y", (1, 3), "float32")]


@pytest.mark.filterwarnings("ignore::UserWarning")  # that all tensors are kept, which is asked for
def test_an_output_that_stays_float_and_is_read_in_8_bits(tmp_path: Path) -> None:
    """Its producer is left alone; what reads it takes 8 bits."""
    (tmp_path / "copy").mkdir()
    file = open_tflite(two_outputs().write(tmp_path / "net.tflite"), tmp_path / "copy", []).path
    content = tflite_prepare.packed(tflite_prepare.prepare(file))
    plan, ends = tflite_plan.static(), tflite_ends.EndsApart(content)
    ranges = tflite_ranges.Ranges(content, plan, [{"x": s[None]} for s in samples()["x"]])
    made = tmp_path / "made.tflite"
    narrow = tflite_plan.Model(ends.content).quantised(plan.leaving(["hidden;"]), ranges.by("minmax"))
    made.write_bytes(ends.together(narrow))
    assert _ends(made) == [("hidden", (1, 16), "float32"), ("y", (1, 3), "float32")] and _narrow(made) == 1
    assert error(file, made, samples(seed=2)) < agreement.LIMIT / 100


def _ends(path: Path) -> list[tuple[str, tuple[int, ...], str]]:
    from ai_edge_litert.interpreter import Interpreter

    found = Interpreter(str(path)).get_signature_runner().get_output_details()
    return [(name, tuple(d["shape"]), d["dtype"].__name__) for name, d in sorted(found.items())]


def folded(shared: bool) -> Net:
    """The last layer has a constant vector folded in, and a bias `[1, 3]`; `shared`: it is added again."""
    net, ws = Net(), weights()
    net.tensor("x", (1, 8))
    hidden = dense(net, "x", "hidden", ws[0], ws[1], relu=True)
    dense(net, hidden, "scaled", ws[2] * np.float32([[1], [100], [0.01]]), np.float32([[0.5, 50, 0.005]]))
    if shared:
        net.tensor("y", (1, 3))
        net.op("ADD", ["scaled", "scaled/b"], ["y"], schema.AddOptionsT())
    net.ends(["x"], ["y" if shared else "scaled"])
    return net


@pytest.mark.parametrize("shared", [False, True])
def test_a_bias_with_an_axis_for_the_sample(tmp_path: Path, shared: bool) -> None:
    piece, near = quantised(folded(shared), tmp_path, samples())
    assert near < agreement.LIMIT / 100 and _narrow(piece.model_path) == 1  # the last layer's answers need float
