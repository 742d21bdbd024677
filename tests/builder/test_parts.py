"""The small parts: golden tolerances, stripping, repacking, ranking, steps' conditions."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgelift_builder import data
from edgelift_builder.measure import evaluate, golden
from edgelift_builder.measure.golden import Nearness
from edgelift_builder.piece import Piece
from edgelift_builder.pipeline import check_options, demand
from edgelift_contract import ContractError

pytestmark = pytest.mark.builder


def test_a_grid_is_told_from_numbers() -> None:
    rng = np.random.default_rng(0)
    steps = rng.integers(-128, 128, size=(500, 10))
    assert golden.grid_step((steps * np.float32(0.1063)).astype(np.float32)) == pytest.approx(0.1063, rel=1e-3)
    assert golden.grid_step(rng.normal(size=(500, 10)).astype(np.float32)) == 0.0
    assert golden.grid_step(np.ones((5, 2))) == 0.0


def test_hard_cases_are_chosen_but_no_coin_tosses() -> None:
    rng = np.random.default_rng(0)
    outputs = {"y": rng.normal(size=(300, 4)).astype(np.float32)}
    near = Nearness(atol=0.05, quantum=0.0, kernels_apart=0.01, argmax=True)
    chosen = golden.choose(outputs, outputs, near)
    top = np.sort(outputs["y"], axis=1)
    margins = top[:, -1] - top[:, -2]
    assert len(chosen) == len(set(chosen)) == golden.COUNT and chosen == sorted(chosen)
    assert margins[chosen].min() > 0.1
    assert np.sort(margins[chosen])[7] < np.quantile(margins, 0.2)


def test_the_same_infinity_is_no_difference_and_no_range() -> None:
    """What a mask rules out is minus infinity in both."""
    masked = np.array([[1.0, -np.inf, 3.0], [-np.inf, 2.0, -np.inf]], np.float32)
    assert evaluate.apart(masked, masked) == 0.0 and evaluate.spread(masked) == 2.0
    assert evaluate.largest_difference({"y": masked + 0.5}, {"y": masked}) == 0.25
    assert evaluate.largest_difference({"y": np.nan_to_num(masked)}, {"y": masked}) == float("inf")
    near = golden.nearness({"y": masked}, {"y": masked}, {"y": masked}, int8=False)
    assert golden.choose({"y": masked}, {"y": masked}, near) == [0, 1]


def test_one_sample_is_enough() -> None:
    one = {"y": np.array([[1.0, 2.0]], np.float32)}
    assert golden.choose(one, one, Nearness(5.0, 0.0, 0.0, argmax=True)) == [0]


def test_a_data_set_reads_back_equal_and_its_digest_is_of_its_content(tmp_path: Path) -> None:
    made = {"b": np.arange(6, dtype=np.int64).reshape(3, 2), "a": np.zeros((3, 1), np.float32), "file": np.ones(3)}
    data.save(tmp_path / "x.npz", made)
    back = data.load(tmp_path / "x.npz")
    assert list(back) == list(made) and all((back[n] == made[n]).all() for n in made)
    assert data.digest(back) == data.digest(made)
    made["a"][0] = 1
    assert data.digest(back) != data.digest(made)


def test_a_pickle_in_a_data_set_is_not_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{"0000:x": np.array([{}], dtype=object)})
    with pytest.raises(ValueError, match="pickle"):
        data.load(tmp_path / "x.npz")


def test_a_repacked_script_answers_the_same_and_names_no_file(tmp_path: Path) -> None:
    import torch

    from edgelift_builder.convert import torchscript

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(300, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.fc(x))

    traced = torch.jit.trace(Net().eval(), torch.zeros(1, 300))
    for name in ("one", "two"):
        traced.save(str(tmp_path / f"{name}.raw"))
        torchscript.repack(tmp_path / f"{name}.raw", tmp_path / f"{name}.pt")
    assert __file__.encode() in _whole(tmp_path / "one.raw") or b"test_parts" in _whole(tmp_path / "one.raw")
    assert b"test_parts.py" not in _whole(tmp_path / "one.pt")
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "two.pt").read_bytes()
    x = torch.randn(4, 300)
    assert torch.equal(torch.jit.load(str(tmp_path / "one.pt"))(x), traced(x))
    with zipfile.ZipFile(tmp_path / "one.pt") as archive:
        for info in archive.infolist():
            if "/data/" in info.filename:
                start = info.header_offset + 30 + len(info.filename) + len(info.extra)
                assert start % torchscript.ALIGNMENT == 0


def _whole(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return b"".join(archive.read(name) for name in archive.namelist())


def test_stripping_removes_what_ties_a_graph_to_a_folder() -> None:
    import onnx

    from edgelift_builder.convert.strip import scrub

    graph = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["": 18]> g (float[N] x) => (float[N] y) { y = Relu(x) }'
    )
    for place in (graph, graph.graph, graph.graph.node[0], graph.graph.input[0]):
        place.metadata_props.add(key="stack_trace", value="/private/place.py")
    graph.graph.node[0].doc_string = graph.doc_string = "/private/place.py"
    scrub(graph)
    assert b"private" not in graph.SerializeToString()
    assert [n.op_type for n in graph.graph.node] == ["Relu"]


def test_a_step_refuses_what_it_cannot_work_on() -> None:
    with pytest.raises(ContractError) as caught:
        demand("static-int8", Piece("tflite", ""), "onnx")
    assert caught.value.code == "step-failed" and "not on a float32 tflite" in caught.value.message
    with pytest.raises(ContractError) as caught:
        check_options("s", {"layers": "Linear"}, {"layers": ["Linear"]})
    assert caught.value.code == "unknown-recipe" and "must be a list" in caught.value.message


def test_importing_the_source_class_is_light() -> None:
    import subprocess
    import sys

    code = "import sys; from edgelift_builder import Source; print('torch' in sys.modules, 'onnx' in sys.modules)"
    path = [p for p in sys.path if p.endswith(("builder", "agent"))]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{code}"], capture_output=True, text=True
    )
    assert done.stdout.split() == ["False", "False"], done.stderr
