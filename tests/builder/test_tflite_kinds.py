"""TFLite files of every kind are read as they are meant: names, types, shapes, answers; or refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelift_builder.build import build
from edgelift_builder.measure.runtimes import ModelSpec, open_session
from edgelift_builder.report.progress import Quiet
from edgelift_builder.request import Request
from edgelift_builder.source import tflite_graph
from edgelift_builder.source.file_model import FileModel, Port
from edgelift_builder.source.tflite_file import open_tflite
from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import SessionOptions
from tests.builder import tflite_kinds as kinds
from tests.builder.tflite_files import Net, answer, weights

pytestmark = pytest.mark.builder


def opened(net: Net, folder: Path) -> tuple[FileModel, list[str]]:
    (folder / "copy").mkdir()
    remarks: list[str] = []
    return open_tflite(net.write(folder / "net.tflite"), folder / "copy", remarks), remarks


def drawn(seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(1, 8)).astype(np.float32)


@pytest.mark.parametrize(
    ("make", "names", "said"),
    [
        (
            kinds.plain,
            ("x", "output_0"),
            "has no signature that fits its graph: its tensors' names stand in, x → output_0",
        ),
        (kinds.deprecated_codes, ("x", "output_0"), "has no signature"),
        (kinds.nameless, ("input_0", "output_0"), "input_0 → output_0"),
        (kinds.several_signatures, ("x", "y"), "serving_default is served; left out: other"),
        (kinds.signed, ("x", "y"), ""),
        (lambda: kinds.signed(-1), ("x", "y"), ""),
    ],
)
def test_two_layers_however_they_are_written(
    tmp_path: Path, make: Callable[[], Net], names: tuple[str, str], said: str
) -> None:
    model, remarks = opened(make(), tmp_path)
    assert ([p.name for p in model.ports], [p.name for p in model.answers]) == ([names[0]], [names[1]])
    assert not model.quantised and model.path.name == "net.tflite"
    x = drawn()
    np.testing.assert_allclose(model.run({names[0]: x})[names[1]], answer(x, weights()), rtol=1e-5)
    assert (said in remarks[0]) if said else (not remarks and model.path.parent == tmp_path)


def test_what_is_written_anew_is_whole(tmp_path: Path) -> None:
    model, _ = opened(kinds.deprecated_codes(), tmp_path)
    made = tflite_graph.read(model.path)
    assert [c.builtinCode for c in made.operatorCodes] == [c.deprecatedBuiltinCode for c in made.operatorCodes]
    (signature,) = made.signatureDefs
    assert (signature.signatureKey, signature.subgraphIndex) == (b"serving_default", 0)


def test_a_signature_that_names_an_inner_tensor_is_no_signature(tmp_path: Path) -> None:
    net = kinds.signed()
    net.model.signatureDefs[0].outputs[0].tensorIndex = net.index("hidden")
    model, remarks = opened(net, tmp_path)
    x = drawn()
    np.testing.assert_allclose(model.run({"x": x})["output_0"], answer(x, weights()), rtol=1e-5)
    assert "has no signature" in remarks[0]


def test_names_come_in_the_files_order(tmp_path: Path) -> None:
    model, _ = opened(kinds.state(), tmp_path)
    assert [p.name for p in model.ports] == ["x", "h"] and [p.name for p in model.answers] == ["y", "h_new"]


def test_graphs_that_are_not_served_are_left_out(tmp_path: Path) -> None:
    model, _ = opened(kinds.several_signatures(), tmp_path)
    assert [g.name for g in tflite_graph.read(model.path).subgraphs] == [b"second"]


def test_a_graph_that_is_brought_forward_keeps_its_branches(tmp_path: Path) -> None:
    model, _ = opened(kinds.branches(), tmp_path)
    x = drawn()
    for which, expected in ((1, x + x), (0, x * x)):
        found = model.run({"which": np.array([which], np.int32), "x": x})["y"]
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: kinds.several_signatures("main"), "2 signatures, and a device serves one: other, main"),
        (kinds.of_text, "x of net.tflite is text, which LiteRT is not given here"),
        (kinds.remembers, "keeps a variable from one call to the next"),
    ],
)
def test_what_cannot_be_served_is_told_in_a_sentence(tmp_path: Path, make: Callable[[], Net], words: str) -> None:
    with pytest.raises(ContractError, match=words) as caught:
        opened(make(), tmp_path)
    assert caught.value.code == "source-invalid" and caught.value.hint


@pytest.mark.parametrize("name", ["MyOwn", "FlexErf"])
def test_an_operator_that_is_not_built_in_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ContractError, match=f"LiteRT cannot load net.tflite: it lacks the operator {name}[.]"):
        opened(kinds.of_an_operator(name.encode()), tmp_path)


def test_a_file_that_is_cut_or_has_no_ends_is_told(tmp_path: Path) -> None:
    whole = kinds.plain().write(tmp_path / "whole.tflite").read_bytes()
    (tmp_path / "cut.tflite").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ContractError, match=r"cut\.tflite is cut short"):
        open_tflite(tmp_path / "cut.tflite", tmp_path, [])
    endless = kinds.plain()
    endless.graph.outputs = []
    with pytest.raises(ContractError, match="has no outputs"):
        opened(endless, tmp_path)


@pytest.mark.parametrize("make", [kinds.own_dynamic, kinds.own_static])
def test_what_came_in_8_bits_is_known(tmp_path: Path, make: Callable[[], Net]) -> None:
    assert opened(make(), tmp_path)[0].quantised


@pytest.mark.parametrize("make", [kinds.bytes_in_and_out, kinds.half_weights, kinds.plain])
def test_what_is_float_within_is_known(tmp_path: Path, make: Callable[[], Net]) -> None:
    assert not opened(make(), tmp_path)[0].quantised


def test_weights_in_float16_are_called_so_and_quantised(tmp_path: Path) -> None:
    kinds.half_weights().write(tmp_path / "net.tflite")
    np.savez(tmp_path / "data.npz", x=np.concatenate([drawn(n) for n in range(60)]))
    variants = {
        "float32": "",
        "int8-static": ', "tflite-static-int8"',
        "int8-weight-only": ', "tflite-weight-only"',
    }
    (tmp_path / "r.toml").write_text(
        'name = "r"\n' + "".join(
            f'[[variant]]\nname = "{name}"\nformat = "tflite"\nsteps = ["export-tflite"{more}]\n'
            for name, more in variants.items()
        )
    )  # fmt: skip
    request = Request(
        str(tmp_path / "net.tflite"), ["rpi4"], data=str(tmp_path / "data.npz"), recipe=str(tmp_path / "r.toml"),
        out=tmp_path / "out",
    )  # fmt: skip
    found = {one.variant: one for one in build(request, Quiet()).report.candidates}
    assert found["float16"].shipped and found.keys() == {"float16", "int8-static", "int8-weight-only"}
    assert not any("works on a float32" in one.reason for one in found.values())


def test_a_free_length_is_free_and_may_be_longer_than_the_file_starts_with(tmp_path: Path) -> None:
    model, _ = opened(kinds.free_length(least=4), tmp_path)
    assert model.ports == [Port("x", "float32", (1, None, 8))]
    rng = np.random.default_rng(0)
    long, short = (rng.normal(size=(1, n, 8)).astype(np.float32) for n in (9, 4))
    first = model.run({"x": long})["y"]
    assert first.shape == (1, 3) and not np.allclose(model.run({"x": short})["y"], first)
    np.testing.assert_array_equal(model.run({"x": long})["y"], first)


def test_a_state_in_variables_is_forgotten_between_calls(tmp_path: Path) -> None:
    model, _ = opened(kinds.variables(), tmp_path)
    x = np.random.default_rng(0).normal(size=(1, 6, 8)).astype(np.float32)
    first = model.run({"x": x})["y"]
    np.testing.assert_array_equal(model.run({"x": x})["y"], first)
    np.testing.assert_allclose(first, _recurrent(x), rtol=1e-4, atol=1e-5)


def _recurrent(x: Any) -> Any:
    rng = np.random.default_rng(3)
    w, r, b = (rng.normal(size=s).astype(np.float32) / 3 for s in ((4, 8), (4, 4), (4,)))
    h, out = np.zeros(4), []
    for step in x[0]:
        h = np.tanh(step @ w.T + h @ r.T + b)
        out.append(h)
    return np.array(out)[None]


@pytest.mark.parametrize(("kind", "expected"), [("INT64", np.int64), ("INT32", np.int32), ("", np.int64)])
@pytest.mark.parametrize(("width", "wanted"), [("FP32", np.float32), ("FP64", np.float64)])
def test_numbers_come_back_in_the_sources_width(
    tmp_path: Path, kind: Any, expected: Any, width: Any, wanted: Any
) -> None:
    path = kinds.tokens().write(tmp_path / "t.tflite")
    spec = ModelSpec(
        "litert", path, SessionOptions(), ("ids",), ("scores", "best"), batch_free=False,
        kinds={"best": kind, "scores": width},
    )  # fmt: skip
    found = open_session(spec).run({"ids": np.array([[1, 2, 3, 4, 5]])})
    assert found["best"].dtype == expected and found["scores"].dtype == wanted
    assert found["best"][0] == found["scores"].argmax()
