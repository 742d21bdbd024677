"""Models that come as files: built like any other, and never opened where opening could run code."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from edgelift_builder.build import build
from edgelift_builder.report.progress import Quiet
from edgelift_builder.request import Request
from edgelift_builder.source import load
from edgelift_contract import ContractError
from tests.builder import files
from tests.builder.conftest import TINY

pytestmark = pytest.mark.builder

RECIPE = """
name = "files"
accuracy_drop_pp = 2.0
[[variant]]
name = "float32"
format = "{0}"
required = true
steps = ["export-{0}"]
"""


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Build a model file in float; the report's only candidate, with the report."""

    def make(path: Path, format_name: str, **more: Any) -> dict[str, Any]:
        recipe = tmp_path / "files.toml"
        recipe.write_text(RECIPE.format(format_name))
        request = Request(str(path), ["x86-64"], recipe=str(recipe), out=tmp_path / "out" / "r", **more)
        report = build(request, Quiet()).report
        (candidate,) = report.candidates
        return {"candidate": candidate, "report": report}

    return make


def refused(_made: Any, tmp_path: Path, path: Path, code: str, words: str, *, data: str = "") -> None:
    """As the child refuses it, without the time that starting one takes."""
    (tmp_path / "sets").mkdir(exist_ok=True)
    with pytest.raises(ContractError) as caught:
        load.load_source(str(path), "", data, str(tmp_path / "sets"))
    assert caught.value.code == code and words in str(caught.value), str(caught.value)
    assert not list((tmp_path / "sets").iterdir())


def test_onnx_with_weights_beside_it(made: Any, tmp_path: Path) -> None:
    built = made(files.onnx_file(tmp_path / "Net v2.onnx"), "onnx")
    assert built["report"].model == "net-v2" and built["report"].parameters == 64 * 32 + 32 + 32 * 4
    assert built["candidate"].shipped and built["candidate"].value < 1e-5
    assert built["report"].metric == "relative error" and "1000 seeded random inputs" in built["report"].remarks[0]


@pytest.mark.parametrize("batch_free", [True, False])
@pytest.mark.parametrize("kind", ["onnx", "tflite"])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_torch_export_archive(made: Any, tmp_path: Path, batch_free: bool, kind: str) -> None:
    path = files.program(tmp_path / "net.pt2", batch_free=batch_free)
    built = made(path, kind, data=str(files.npz(tmp_path / "data.npz")))
    assert built["report"].metric == "accuracy" and built["candidate"].value == 1.0
    assert built["candidate"].shipped and not any("random" in r for r in built["report"].remarks)


def test_torchscript_with_a_function_for_its_data(made: Any, tmp_path: Path) -> None:
    built = made(files.torchscript(tmp_path / "net.pt"), "torchscript", data=f"{TINY}:tiny")
    assert built["candidate"].shipped and built["candidate"].value == 1.0


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_tflite(made: Any, tmp_path: Path) -> None:
    import litert_torch

    from tests.builder.tiny import tiny

    litert_torch.convert(tiny().model, (torch.zeros(1, 1, 8, 8),)).export(str(tmp_path / "net.tflite"))
    built = made(tmp_path / "net.tflite", "tflite")
    assert built["candidate"].shipped and built["report"].metric == "relative error"


def test_torchscript_does_not_say_its_shapes(made: Any, tmp_path: Path) -> None:
    refused(made, tmp_path, files.torchscript(tmp_path / "net.pt"), "source-invalid", "--data")


def test_weights_alone_are_refused(made: Any, tmp_path: Path) -> None:
    refused(
        made, tmp_path, files.state_dict(tmp_path / "w.pt"), "source-invalid", "holds weights but not the model"
    )
    (tmp_path / "w.safetensors").write_bytes(b"\0" * 16)
    refused(made, tmp_path, tmp_path / "w.safetensors", "source-invalid", "holds weights but not the model")


class Trap:
    """Unpickling this creates a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("how", ["torch.save", "pickle", "pt2 sample", "pt2 object", "pt2 weights"])
def test_a_pickle_with_code_in_it_is_not_opened(made: Any, tmp_path: Path, how: str) -> None:
    mark = tmp_path / "ran"
    if how == "torch.save":
        torch.save({"model": Trap(mark)}, tmp_path / "net.pt")
    elif how == "pickle":
        (tmp_path / "net.pt").write_bytes(pickle.dumps(Trap(mark)))
    else:
        _poison(files.program(tmp_path / "net.pt2"), how, mark)
    path = next(tmp_path.glob("net.pt*"))
    refused(made, tmp_path, path, "unsafe-file", "was not opened", data=str(files.npz(tmp_path / "d.npz")))
    assert not mark.exists()


def _poison(path: Path, how: str, mark: Path) -> None:
    torch.save(Trap(mark), path.parent / "trap")
    trap = (path.parent / "trap").read_bytes()
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    if how == "pt2 sample":
        records = {n: trap if "/sample_inputs/" in n else b for n, b in records.items()}
    elif how == "pt2 object":
        records["net/data/constants/custom_obj_0"] = pickle.dumps(Trap(mark))
    else:
        config = next(n for n in records if n.endswith("model_weights_config.json"))
        records[config] = records[config].replace(b'"use_pickle": false', b'"use_pickle": true')
        records = {n: trap if "/weights/weight_" in n else b for n, b in records.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in records.items():
            archive.writestr(name, data)


def test_a_size_that_is_code_is_not_evaluated(made: Any, tmp_path: Path) -> None:
    path = files.program(tmp_path / "net.pt2")
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    name = next(n for n in records if "/models/" in n)
    assert b'"expr_str": "' in records[name]
    start = records[name].index(b'"expr_str": "') + len(b'"expr_str": "')
    end = records[name].index(b'"', start)
    code = f"open('{tmp_path}/ran','w')".encode()
    records[name] = records[name][:start] + code + records[name][end:]
    with zipfile.ZipFile(path, "w") as archive:
        for record, data in records.items():
            archive.writestr(record, data)
    refused(made, tmp_path, path, "unsafe-file", "no arithmetic", data=str(files.npz(tmp_path / "d.npz")))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "link"])
def test_external_data_does_not_leave_its_folder(made: Any, tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_bytes(b"\0" * 10_000)
    home = tmp_path / "model"
    home.mkdir()
    (home / "link").symlink_to("../secret")
    path = files.onnx_file(home / "net.onnx")
    proto = onnx.load(path, load_external_data=False)
    for entry in proto.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    path.write_bytes(proto.SerializeToString())
    refused(made, tmp_path, path, "bad-path", "outside its folder")


def test_missing_weights_are_named(made: Any, tmp_path: Path) -> None:
    path = files.onnx_file(tmp_path / "net.onnx")
    (tmp_path / "weights.data").unlink()
    refused(made, tmp_path, path, "source-missing", "weights.data, which is not there")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("net.onnx", "not a valid ONNX"),
        ("net.tflite", "not a TFLite file"),
        ("net.pt2", "not an archive of torch.export"),
        ("net.pt", "not a file that torch"),
    ],
)
def test_a_file_that_is_none(made: Any, tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / name).write_bytes(b"hello, world\n" * 10)
    refused(made, tmp_path, tmp_path / name, "source-invalid", words)


def test_data_that_does_not_fit_is_told_by_shape(made: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((5, 63), np.float32))
    path = files.onnx_file(tmp_path / "net.onnx")
    refused(
        made,
        tmp_path,
        path,
        "shape-mismatch",
        "One sample of the example input x is float32[1, 63]; net.onnx takes float32[n, 64]",
        data=str(tmp_path / "d.npz"),
    )


def test_pickled_data_is_not_opened(made: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.array([Trap(tmp_path / "ran")], dtype=object))
    path = files.onnx_file(tmp_path / "net.onnx")
    refused(made, tmp_path, path, "unsafe-file", "pickled", data=str(tmp_path / "d.npz"))
    assert not (tmp_path / "ran").exists()


def test_a_fixed_batch_of_more_than_one_is_refused(made: Any, tmp_path: Path) -> None:
    refused(made, tmp_path, files.onnx_file(tmp_path / "n.onnx", batch=8), "shape-mismatch", "exactly 8 samples")


def test_a_recipe_that_the_file_cannot_follow(made: Any, tmp_path: Path) -> None:
    with pytest.raises(ContractError) as caught:
        made(files.onnx_file(tmp_path / "n.onnx"), "torchscript")
    assert caught.value.code == "unknown-recipe" and "can become: onnx" in str(caught.value)
