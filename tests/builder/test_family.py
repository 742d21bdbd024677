"""The default recipe follows what a model is made of and what the board is good at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgelift_builder import choose, family
from edgelift_builder.facts import SourceFacts
from edgelift_builder.recipe import load_recipe
from edgelift_builder.targets import load_target, names
from edgelift_contract.errors import ContractError

pytestmark = pytest.mark.builder

FLOAT = TensorProto.FLOAT


def weight(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones(shape, np.float32), name)


def save(path: Path, nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto]) -> Path:
    ends = [helper.make_tensor_value_info(n, FLOAT, None) for n in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


def node(kind: str, inputs: str, outputs: str = "y", **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


ATTENTION = [
    node("MatMul", "x w", "q"), node("MatMul", "q x", "s"), node("Softmax", "s", "p"), node("MatMul", "p q", "y")
]  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "weights", "is_a"),
    [
        ([node("Conv", "x w")], [("w", 4, 3, 3, 3)], "cnn"),
        ([node("Conv", "x w", "h"), node("Gemm", "h v")], [("w", 4, 3, 3, 3), ("v", 900, 900)], "cnn"),
        ([node("MatMul", "x w", "h"), node("Relu", "h")], [("w", 8, 8)], "mlp"),
        ([node("Transpose", "w", "t", perm=[1, 0]), node("MatMul", "x t")], [("w", 8, 8)], "mlp"),
        (ATTENTION, [("w", 8, 8)], "transformer"),
        ([node("Conv", "x v", "x0"), *ATTENTION], [("w", 9, 9), ("v", 2, 2, 1, 1)], "transformer"),
        ([node("Conv", "x v", "x0"), *ATTENTION], [("w", 2, 2), ("v", 9, 9, 1, 1)], "cnn"),
        ([node("LSTM", "x w r", "y", hidden_size=2)], [("w", 1, 8, 3), ("r", 1, 8, 2)], "recurrent"),
        ([node("Conv", "x v", "h"), node("GRU", "h w r", "y", hidden_size=2)],
         [("v", 9, 9, 9), ("w", 1, 6, 9), ("r", 1, 6, 2)], "recurrent"),
        ([node("Relu", "x")], [], "mlp"),
        ([node("DequantizeLinear", "w s", "t"), node("Conv", "x t")], [("w", 4, 3, 3, 3), ("s",)], "cnn"),
    ],
)  # fmt: skip
def test_the_graph_tells(
    tmp_path: Path, nodes: list[onnx.NodeProto], weights: list[tuple[str, int]], is_a: str
) -> None:
    found = family.of_onnx(save(tmp_path / "m.onnx", nodes, [weight(*w) for w in weights]))
    assert found.family == is_a
    assert ("attention" in found.words) == (len(nodes) > 3)


def test_a_branch_and_a_function_count(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [node("Conv", "x w", "z")], "b", [], [helper.make_tensor_value_info("z", FLOAT, None)]
    )
    branch = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    condition = numpy_helper.from_array(np.array(True), "c")
    assert (
        family.of_onnx(save(tmp_path / "a.onnx", [branch], [weight("w", 4, 3, 3, 3), condition])).family == "cnn"
    )
    model = onnx.load(save(tmp_path / "b.onnx", [helper.make_node("block", ["x", "w"], ["y"], domain="own")], []))
    model.graph.initializer.append(weight("w", 4, 3, 3, 3))
    opsets = [helper.make_opsetid("", 18)]
    model.functions.append(
        helper.make_function("own", "block", ["a", "b"], ["c"], [node("Conv", "a b", "c")], opsets)
    )
    model.opset_import.append(helper.make_opsetid("own", 1))
    onnx.save(model, tmp_path / "b.onnx")
    assert family.of_onnx(tmp_path / "b.onnx").family == "cnn"


def facts(parameters: int = 1000, *, guessed: bool = False) -> SourceFacts:
    return SourceFacts("m", "", [], [], 100, 100, "accuracy", "", parameters=parameters, guessed=guessed)


def made(recipe: str, target: str, about: SourceFacts) -> list[str]:
    board = load_target(target)
    found = choose.variants(load_recipe(recipe), board, about)
    return [v.name for v in found if v.format == "onnx"]


@pytest.mark.parametrize("name", family.FAMILIES)
def test_each_family_has_a_recipe_of_every_format(name: str) -> None:
    recipe = load_recipe("default").families[name]
    for target in map(load_target, names()):
        found = choose.variants(recipe, target, facts())
        assert {v.format for v in found} == {"onnx", "tflite", "torchscript"}
        assert all(v.where or v.name == "float32" for v in found)


@pytest.mark.parametrize(
    ("recipe", "target", "variants"),
    [
        ("cnn", "rpi4", ["float32", "int8-static", "int8-stored"]),
        ("cnn", "jetson-nano", ["float32", "fp16"]),
        ("cnn", "jetson-orin-nano", ["float32", "int8-static", "fp16", "int8-stored"]),
        (
            "transformer",
            "x86-64",
            ["float32", "int8-dynamic", "int8-dynamic-tensor", "int8-static", "int8-stored"],
        ),
        ("recurrent", "rpi4", ["float32", "int8-dynamic", "int8-dynamic-tensor", "int8-static", "int8-stored"]),
    ],
)
def test_the_board_decides_what_is_made(recipe: str, target: str, variants: list[str]) -> None:
    assert made(recipe, target, facts()) == variants


def test_weight_only_where_memory_is_the_limit_or_nothing_can_be_calibrated() -> None:
    large = facts(100_000_000)  # 400 MB in float
    assert "int8-weight-only" in made("transformer", "rpi-zero2w", large)
    assert "int8-weight-only" not in made("transformer", "x86-64-vnni", large)
    assert "int8-weight-only" in made("mlp", "x86-64-vnni", facts(guessed=True))


def test_unmeasured_a_jetson_tries_float16_first_and_a_pi_int8() -> None:
    orin, pi = load_target("jetson-orin-nano"), load_target("rpi5")
    known = [("float32", "float32"), ("int8-static", "int8"), ("fp16", "float16"), ("int8-dynamic", "int8")]
    order = sorted(known, key=lambda one: orin.order(*one, "onnxruntime"))
    assert [name for name, _ in order] == ["fp16", "int8-static", "float32", "int8-dynamic"]
    assert min(known, key=lambda one: pi.order(*one, "litert"))[1] == "int8"
    # What stores its weights narrow and computes in float stands with float, before it.
    stored, whole = (
        pi.order("int8-stored", "float32", "onnxruntime"),
        pi.order("float32", "float32", "onnxruntime"),
    )
    assert pi.order("int8-static", "int8", "onnxruntime") < stored < whole
    # On AVX2 int8 has to be measured faster: behind float, LiteRT's, which is slower, behind that, but before the legacy.
    avx2 = load_target("x86-64")
    places = [
        avx2.order("float32", "float32", "onnxruntime"),
        avx2.order("float32", "float32", "litert"),
        avx2.order("int8-static", "int8", "onnxruntime"),
        avx2.order("int8-static", "int8", "litert"),
        avx2.order("float32", "float32", "torchscript"),
    ]
    assert places == sorted(places)


def table(fields: dict[str, object]) -> str:
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"family": {"cnn": "cnn"}}, "transformer"),
        ({"family": dict.fromkeys(family.FAMILIES, "default")}, "only names others"),
        ({"family": dict.fromkeys(family.FAMILIES, "cnn"), "variant": [
            {"name": "float32", "format": "onnx", "steps": ["export-onnx"]}]}, "both variants and"),
        ({}, "neither variants nor"),
    ],
)  # fmt: skip
def test_a_wrong_choice_by_family_is_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    path = tmp_path / "r.toml"
    lists = "".join(f"\n[[{n}]]\n{table(v[0])}" for n, v in change.items() if isinstance(v, list))
    tables = "".join(f"\n[{n}]\n{table(v)}" for n, v in change.items() if isinstance(v, dict))
    path.write_text(f'name = "mine"\n{tables}{lists}')
    with pytest.raises(ContractError) as caught:
        load_recipe(str(path))
    assert caught.value.code == "unknown-recipe" and words in str(caught.value)
