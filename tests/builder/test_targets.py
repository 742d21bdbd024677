"""Targets as data: every value sourced, explained on demand, and a new board is one file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import onnx
import pytest
from onnx import TensorProto, helper

from edgelift_builder.build import build
from edgelift_builder.report.progress import Quiet
from edgelift_builder.request import Request
from edgelift_builder.targets import load_target, names, of_class
from edgelift_builder.targets.pins import too_old
from edgelift_contract import ContractError
from tests.builder.conftest import ROOT, BuiltFolder, edgelift

pytestmark = pytest.mark.builder

BOARDS = {
    "rpi3": ("arm64-neon", "cortex-a53"),
    "rpi-zero2w": ("arm64-neon", "cortex-a53"),
    "rpi4": ("arm64-neon", "cortex-a72"),
    "rpi5": ("arm64-dotprod", "cortex-a76"),
    "arm64": ("arm64-neon", "cortex-a53"),
    "jetson-nano": ("jetson-maxwell", "cortex-a57"),
    "jetson-orin-nano": ("jetson-ampere", "cortex-a76"),
    "x86-64": ("x86-64-avx2", ""),
    "x86-64-vnni": ("x86-64-vnni", ""),
}


def documented() -> str:
    """The example file in docs/targets.md."""
    (found,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "targets.md").read_text(), re.DOTALL)
    return found


def test_these_boards_ship() -> None:
    assert set(names()) == set(BOARDS)


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_is_of_its_class_and_says_who_says_so(name: str) -> None:
    target = load_target(name)
    assert (target.hardware_class, target.emulated_cpu) == BOARDS[name]
    assert all(source.strip() for source in target.sources.values())
    assert set(target.sources) >= {f"options.{runtime}" for runtime in target.runtimes}
    assert all(bad.what and bad.source for bad in target.known_bad)
    assert target.session("onnxruntime").threads <= target.cores


@pytest.mark.parametrize("name", sorted(set(BOARDS) - {"jetson-nano"}))
def test_int8_follows_the_kernels(name: str) -> None:
    target = load_target(name)
    scheme = target.int8["onnxruntime"]
    arm = not target.hardware_class.startswith("x86")
    assert scheme.activation == ("int8" if arm else "uint8")
    assert scheme.reduce_range == (target.hardware_class == "x86-64-avx2")
    assert scheme.symmetric == target.hardware_class.startswith("jetson")


def test_the_old_jetson_stays_float() -> None:
    target = load_target("jetson-nano")
    assert not target.int8 and target.precisions[0] == "float16"
    assert target.preference("float16") < target.preference("float32") < target.preference("int8")


def test_one_is_explained_value_by_value() -> None:
    told = edgelift("targets", "rpi4").stdout
    target = load_target("rpi4")
    words = " ".join(told.split())
    for source in target.sources.values():
        assert " ".join(source.split()) in words
    assert "onnxruntime#31573" in words and "cortex-a72" in words
    assert json.loads(edgelift("targets", "rpi4", "--json").stdout) == msgspec.to_builtins(target)


def test_an_unknown_one_is_refused_with_near_names() -> None:
    done = edgelift("targets", "rpi6")
    assert done.returncode == 1 and "rpi5" in done.stderr and "unknown-target" in done.stderr


def test_a_new_board_is_one_file(
    tmp_path: Path, build_tiny: Callable[..., BuiltFolder], onnx_recipe: Path
) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(documented())
    onnx_recipe.write_text("accuracy_drop_pp = 2.0\n" + onnx_recipe.read_text())
    built = build_tiny("tiny", onnx_recipe, targets=[str(path)])
    assert {c["target"] for c in built.report["candidates"]} == {"gateway"}
    int8 = next(m for m in built.manifests.values() if m.variant == "int8-static")
    assert (int8.hardware_class, int8.options.threads) == ("arm64-neon", 3)
    assert "i.MX 8M Plus" in edgelift("targets", path).stdout


@pytest.mark.parametrize(
    "change, words",
    [
        (("cores]\nvalue = 4", 'cores]\nvalue = "four"'), "cores.value"),
        (("cores]\nvalue = 4", "cores]\nvalue = 0"), "cores.value"),
        (('source = "data sheet: four Cortex-A53"', ""), "source"),
        (('value = "arm64-neon"', 'value = "arm64-quick"'), "hardware_class.value"),
        (("threads = 3", "threads = 3\nturbo = true"), "turbo"),
        (("title =", "tite ="), "tit"),
        (("[cores]", "[cores"), "not valid"),
    ],
)
def test_a_wrong_file_is_refused_by_field(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    text = documented()
    assert change[0] in text
    path = tmp_path / "gateway.toml"
    path.write_text(text.replace(*change, 1))
    with pytest.raises(ContractError) as caught:
        load_target(str(path))
    assert caught.value.code == "unknown-target" and words in str(caught.value)


def test_an_order_that_no_file_gives_is_float_first_where_int8_has_to_be_measured_faster(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    for hardware_class, first in (("arm64-neon", "int8"), ("x86-64-vnni", "int8"), ("x86-64-avx2", "float32")):
        path.write_text(documented().replace('value = "arm64-neon"', f'value = "{hardware_class}"'))
        target = load_target(str(path))
        assert target.precisions[0] == first and "int8" in target.precisions and target.sources["precisions"]


@pytest.mark.parametrize("name", BOARDS)
def test_the_targets_of_a_class_are_known(name: str) -> None:
    assert name in of_class(BOARDS[name][0])


def test_what_no_runtime_of_a_boards_python_loads_is_refused_and_what_some_do_is_told(tmp_path: Path) -> None:
    assert too_old(["3.10"], "onnxruntime", ">=1.24") == {"3.10": "1.23.2"}
    assert too_old(["3.10"], "onnxruntime", ">=1.23") == {} == too_old(["3.11"], "onnxruntime", ">=1.24")
    assert too_old(["3.10"], "torchscript", ">=2.0") == {} == too_old(["3.10"], "litert", ">=2.0")
    swish = helper.make_node("Swish", ["x"], ["y"])  # of opset 24, which onnxruntime loads from 1.24 on
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy"]
    graph = helper.make_graph([swish], "g", ends[:1], ends[1:])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=12), tmp_path / "m.onnx"
    )

    request = Request(str(tmp_path / "m.onnx"), ["jetson-orin-nano"], out=tmp_path / "out", accept=True)
    why = r"needs onnxruntime >=1\.24.*1\.23\.2 for Python 3\.10.*Jetson Orin"
    with pytest.raises(ContractError, match=why) as refused:
        build(request, Quiet())
    assert refused.value.code == "runtime-too-old" and not (tmp_path / "out").exists()
