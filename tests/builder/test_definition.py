"""`W_q = round(W · Q)` and its laws; and the runtimes' quantisers held against it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgelift_builder.optimise import definition, narrow_nodes, weight_only
from edgelift_builder.optimise.definition import PerChannel, PerGroup, PerTensor
from tests.builder import files

pytestmark = pytest.mark.builder

GRANULARITIES = [PerTensor(), PerChannel(0), PerChannel(-1), PerGroup(4), PerGroup(3, axis=0)]

WEIGHTS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=4, max_side=9),
    elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False),
)


@pytest.mark.parametrize(
    ("granularity", "shape", "wanted"),
    [
        (PerTensor(), (64, 32, 3, 3), (1, 1, 1, 1)),
        (PerChannel(0), (64, 32, 3, 3), (64, 1, 1, 1)),
        (PerChannel(-1), (128, 768), (1, 768)),
        (PerGroup(32, 1), (128, 768), (128, 24)),
        (PerGroup(32, 1), (128, 70), (128, 3)),
    ],
)
def test_scale_shapes(
    granularity: definition.Granularity, shape: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    assert granularity.scale_shape(shape) == wanted
    assert definition.quantise(np.ones(shape, np.float32), granularity).scale.shape == wanted


@settings(max_examples=150, deadline=None)
@given(weights=WEIGHTS, bits=st.integers(2, 8), granularity=st.sampled_from(GRANULARITIES))
def test_every_weight_is_within_half_a_step(
    weights: np.ndarray, bits: int, granularity: definition.Granularity
) -> None:
    made = definition.quantise(weights, granularity, bits)
    assert made.values.dtype == np.int8 and made.values.shape == weights.shape
    assert np.abs(made.values.astype(int)).max() <= 2 ** (bits - 1) - 1
    assert (np.abs(weights - definition.dequantise(made)) <= definition.error_bound(made)).all()


@settings(max_examples=60, deadline=None)
@given(weights=WEIGHTS, granularity=st.sampled_from(GRANULARITIES))
def test_its_laws(weights: np.ndarray, granularity: definition.Granularity) -> None:
    made = definition.quantise(weights, granularity)
    mirrored = definition.quantise(-weights, granularity)
    assert (made.values == -mirrored.values).all() and (made.scale == mirrored.scale).all()
    assert (made.values[weights == 0] == 0).all()
    doubled = definition.quantise(weights * np.float32(2), granularity)
    usual = made.scale > np.finfo(np.float32).tiny
    if usual.all() and (weights != 0).any():
        assert (doubled.values == made.values).all()  # a power of two only moves the scale


@settings(max_examples=60, deadline=None)
@given(weights=WEIGHTS)
def test_a_finer_granularity_is_never_coarser(weights: np.ndarray) -> None:
    whole = definition.error_bound(definition.quantise(weights, PerTensor()))
    for finer in (PerChannel(0), PerGroup(4)):
        bound = definition.error_bound(definition.quantise(weights, finer))
        zero = np.broadcast_to(
            np.abs(definition.dequantise(definition.quantise(weights, finer))) == 0, weights.shape
        )
        assert ((bound <= np.broadcast_to(whole, bound.shape) * (1 + 1e-6)) | zero).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        definition.quantise(np.array([[1.0, bad]]), PerTensor())


@pytest.mark.parametrize("bits", [0, 1, 9, 16])
def test_other_widths_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="2 to 8 bits"):
        definition.quantise(np.ones((2, 2)), PerTensor(), bits)


@pytest.mark.parametrize("per_channel", [False, True])
def test_onnxruntimes_weights_are_those_of_the_definition(tmp_path: Path, per_channel: bool) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = files.onnx_file(tmp_path / "net.onnx", external=False)
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    quantize_dynamic(path, tmp_path / "q.onnx", weight_type=QuantType.QInt8, per_channel=per_channel)
    found = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(tmp_path / "q.onnx").graph.initializer}
    for name in ("w1", "w2"):
        wanted = definition.quantise(weights[name], PerChannel(1) if per_channel else PerTensor())
        np.testing.assert_allclose(found[f"{name}_scale"].ravel(), wanted.scale.ravel(), rtol=1e-6)
        apart = np.abs(found[f"{name}_quantized"].astype(int) - wanted.values)
        assert apart.max() <= 1 and (apart > 0).mean() < 1e-2  # a last bit of the scale decides some ties


def test_static_weights_are_those_of_the_definition(tmp_path: Path) -> None:
    from edgelift_builder.optimise import prepare
    from edgelift_builder.optimise.static_int8 import GraphQuantiser
    from edgelift_builder.piece import Range

    path = files.onnx_file(tmp_path / "net.onnx")
    ready = prepare.prepare(path, tmp_path)
    plain = {"activation": "uint8", "weight": "int8", "reduce_range": False, "per_channel": False}
    ranges = {n: Range(n, -4.0, 4.0, -4.0, 4.0) for n in ("x", "h0", "h1", "h2", "y")}
    made = GraphQuantiser(ready, ranges, plain, []).make()
    found = {t.name: onnx.numpy_helper.to_array(t) for t in made.graph.initializer}
    wide = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(ready).graph.initializer}
    checked = [n for n in wide if f"{n}_quantized" in found and found[f"{n}_quantized"].dtype == np.int8]
    assert checked
    for name in checked:
        wanted = definition.quantise(wide[name], PerTensor())
        assert np.abs(found[f"{name}_quantized"].astype(int) - wanted.values).max() <= 1


@pytest.mark.parametrize("symmetric", [False, True])
def test_activations_have_no_zero_point_where_a_target_says_so(tmp_path: Path, symmetric: bool) -> None:
    """TensorRT builds no engine with one."""
    from edgelift_builder.optimise import prepare
    from edgelift_builder.optimise.static_int8 import GraphQuantiser
    from edgelift_builder.piece import Range

    ready = prepare.prepare(files.onnx_file(tmp_path / "net.onnx"), tmp_path)
    scheme = {
        "activation": "int8",
        "weight": "int8",
        "reduce_range": False,
        "per_channel": False,
        "symmetric": symmetric,
    }
    ranges = {n: Range(n, -1.0, 4.0, -1.0, 4.0) for n in ("x", "h0", "h1", "h2", "y")}
    graph = GraphQuantiser(ready, ranges, scheme, []).make().graph
    found = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    points = [found[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"]
    assert points and all((point == 0).all() == symmetric for point in points)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("width", [64, 70])
def test_weight_only_computes_with_the_definitions_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: int, width: int
) -> None:
    import onnxruntime as ort

    (tmp_path / "wide").mkdir()
    (tmp_path / "narrow").mkdir()
    path = files.onnx_file(tmp_path / "wide" / "net.onnx", width=width)
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    monkeypatch.setattr(narrow_nodes, "LEAST_ELEMENTS", 64)
    weight_only.quantise(str(path), {"bits": bits, "group": 32}, str(tmp_path / "narrow"))
    made = onnx.load(tmp_path / "narrow" / "model.onnx", load_external_data=False)
    for node in made.graph.node:  # computed in float here: the kernel's own int8 activations are not the question
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                attribute.i = 1
    (tmp_path / "narrow" / "model.onnx").write_bytes(made.SerializeToString())
    session = ort.InferenceSession(tmp_path / "narrow" / "model.onnx", providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).normal(size=(5, width)).astype(np.float32)
    (found,) = session.run(None, {"x": x})
    narrow = [definition.dequantise(definition.quantise(weights[w].T, PerGroup(32), bits)).T for w in ("w1", "w2")]
    wanted = np.maximum(x @ narrow[0] + weights["b1"], 0) @ narrow[1]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
