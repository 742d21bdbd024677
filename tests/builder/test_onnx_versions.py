"""Which onnxruntime loads what: the table's own order, this machine's runtime as its witness, and an artifact's manifest."""

from __future__ import annotations

import itertools
from importlib import metadata
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from edgelift_builder.convert.onnx_versions import TABLE, release_for, runtime_range

pytestmark = [pytest.mark.builder, pytest.mark.onnx]


def one_node(opset: int, ir: int) -> onnx.ModelProto:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ports[:1], ports[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


def test_newer_releases_read_all_that_older_ones_do() -> None:
    for older, newer in itertools.pairwise(TABLE):
        assert older.release < newer.release and older.opset <= newer.opset and older.ir <= newer.ir


@pytest.mark.parametrize(
    ("opset", "ir", "release"),
    [(7, 3, (1, 17)), (20, 9, (1, 17)), (21, 9, (1, 18)), (20, 10, (1, 18)), (22, 8, (1, 21)), (24, 9, (1, 24))],
)  # fmt: skip
def test_the_oldest_that_reads_it(opset: int, ir: int, release: tuple[int, int]) -> None:
    assert release_for(opset, ir) == release


def test_this_runtime_reads_what_the_table_says_of_it() -> None:
    mine = tuple(int(part) for part in metadata.version("onnxruntime").split(".")[:2])
    known = [row for row in TABLE if row.release <= mine]
    for opset, ir in ((known[-1].opset, 8), (17, known[-1].ir)):
        ort.InferenceSession(one_node(opset, ir).SerializeToString(), providers=["CPUExecutionProvider"])


def test_a_files_range_is_that_of_its_opset_and_of_its_operators(tmp_path: Path) -> None:
    onnx.save(one_node(23, 9), tmp_path / "m.onnx")
    assert runtime_range(tmp_path / "m.onnx") == ">=1.23"
    assert runtime_range(tmp_path / "m.onnx", ">=1.22") == ">=1.23"
    assert runtime_range(tmp_path / "m.onnx", ">=1.25") == ">=1.25"


@pytest.mark.parametrize(
    ("domain", "version", "operator", "inputs", "options", "said"),
    [
        ("com.microsoft", 1, "MatMulNBits", 3, {"K": 32}, ">=1.17"),
        ("com.microsoft", 1, "MatMulNBits", 6, {"K": 32}, ">=1.19"),
        ("com.microsoft", 1, "GatherBlockQuantized", 3, {}, ">=1.20"),
        ("com.microsoft", 1, "GatherBlockQuantized", 3, {"bits": 8}, ">=1.23"),
        ("com.microsoft", 1, "FusedConv", 2, {}, ">=1.17"),
        ("ai.onnx.ml", 3, "TreeEnsembleRegressor", 1, {}, ">=1.17"),
        ("ai.onnx.ml", 5, "TreeEnsemble", 1, {}, ">=1.18"),
    ],
)
def test_operators_that_came_later_narrow_the_range(
    domain: str, version: int, operator: str, inputs: int, options: dict[str, int], said: str, tmp_path: Path
) -> None:
    names = [f"x{k}" for k in range(inputs)]
    made = helper.make_node(operator, names, ["y"], domain=domain, **options)
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in (*names, "y")]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(domain, version)]
    graph = helper.make_graph([made], "g", ports[:-1], ports[-1:])
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), tmp_path / "m.onnx")
    assert runtime_range(tmp_path / "m.onnx") == said
