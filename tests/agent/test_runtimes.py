"""Runtimes as they really are: LiteRT by both packages, onnxruntime's providers, one wrong file each."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests import surroundings
from tests.waiting import until

from edgelift_agent.runtime import all_runtimes, available, pick
from edgelift_contract.errors import ContractError, DeviceError
from edgelift_contract.manifest import FileEntry, Goldens, Manifest, Provenance, TensorSpec, Tolerance

ROOT = Path(__file__).parents[2]


def manifest(path: str, runtime: str, file_format: str, name: str = "x", out: str = "y") -> Manifest:
    return Manifest(
        schema=1, model="m", version="1", release_counter=1, variant="float32", hardware_class="x86-64-avx2",
        format=file_format, runtime=runtime, files=[FileEntry(path, 1, "0" * 64, "model")],
        inputs=[TensorSpec(name, "FP32", [1, 4])], outputs=[TensorSpec(out, "FP32", [1, 2])],
        goldens=Goldens("g", 1, Tolerance("k", 0)), provenance=Provenance("0" * 64, "r"),
    )  # fmt: skip


@pytest.mark.onnx
@pytest.mark.parametrize(
    ("runtime", "kind"), [("onnxruntime", "onnx"), ("litert", "tflite"), ("torchscript", "torchscript")]
)
def test_a_file_that_is_no_model_is_refused_by_every_runtime(tmp_path: Path, runtime: str, kind: str) -> None:
    (tmp_path / "model").write_bytes(b"this is not a model")
    with pytest.raises(ContractError) as caught:
        all_runtimes()[runtime].load(tmp_path, manifest("model", runtime, kind))
    assert caught.value.code == "load-failed"


def test_a_runtime_that_is_not_installed_is_named() -> None:
    runtimes = all_runtimes()
    for name in set(runtimes) - set(available(runtimes)):
        with pytest.raises(DeviceError, match="not installed"):
            pick(runtimes, name)
    with pytest.raises(DeviceError, match="not installed"):
        pick(runtimes, "tensorflow")


def tflite_file(folder: Path) -> Path:
    """A small real TFLite model: y = x · W, made by litert-torch."""
    torch = pytest.importorskip("torch", reason="only where the builder is installed")
    import litert_torch

    torch.manual_seed(0)
    model = torch.nn.Linear(4, 2).eval()
    path = folder / "model.tflite"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter's own, about torch's and its own futures
        litert_torch.convert(model, (torch.zeros(1, 4),)).export(str(path))
    x = np.arange(4, dtype=np.float32).reshape(1, 4)
    (folder / "expected.json").write_text(json.dumps(model(torch.from_numpy(x)).detach().numpy().tolist()))
    return path


@pytest.fixture(scope="module")
def tflite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tflite_file(tmp_path_factory.mktemp("tflite"))


@pytest.mark.builder
def test_ai_edge_litert_serves_several_threads_at_once(tflite: Path) -> None:
    model = all_runtimes()["litert"].load(tflite.parent, manifest("model.tflite", "litert", "tflite"))
    x = np.arange(4, dtype=np.float32).reshape(1, 4)
    expected = np.array(json.loads((tflite.parent / "expected.json").read_text()), np.float32)
    wrong: list[object] = []

    def run() -> None:
        for _ in range(100):
            got = model.run({"x": x})["y"]
            if not np.allclose(got, expected, atol=1e-5):
                wrong.append(got)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    model.close()


@pytest.mark.builder
def test_doubles_are_taken_for_a_file_in_float32(tflite: Path) -> None:
    """Converters make float32 of float64; a third is none of its numbers, and 1e300 is beyond them."""
    wide = msgspec.structs.replace(
        manifest("model.tflite", "litert", "tflite"),
        inputs=[TensorSpec("x", "FP64", [1, 4])], outputs=[TensorSpec("y", "FP64", [1, 2])],
    )  # fmt: skip
    model, x = all_runtimes()["litert"].load(tflite.parent, wide), np.arange(4.0).reshape(1, 4)
    thirds, whole = model.run({"x": x / 3})["y"], model.run({"x": x})["y"]
    expected = np.array(json.loads((tflite.parent / "expected.json").read_text()))
    np.testing.assert_allclose(whole, expected, atol=1e-5)
    assert thirds.dtype == np.float64 and np.isfinite(thirds).all()
    for odd in (np.nan, np.inf):
        assert not np.isfinite(model.run({"x": np.full((1, 4), odd)})["y"]).any()
    with pytest.raises(ContractError, match="does not fit into float32") as caught:
        model.run({"x": x * 1e300})
    assert caught.value.code == "bad-request"


@pytest.mark.builder
@pytest.mark.slow
def test_tflite_runtime_gives_the_same_in_a_venv_of_its_own(tflite: Path, tmp_path: Path) -> None:
    """tflite-runtime 2.14 needs numpy < 2 and Python 3.11 or older: the fallback for devices that have only that."""
    if sys.version_info >= (3, 12):
        pytest.fail("tflite-runtime has no wheel for this Python; run the slow tests on 3.11")
    venv = ROOT / ".venvs" / "tflite-runtime"
    python = venv / "bin" / "python"
    whole = venv / "whole"
    if not whole.exists():  # or an earlier run was ended while it made it
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        whole.touch()
    install = [
        python,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "-q",
        "tflite-runtime==2.14.0",
        "numpy<2",
        "msgspec",
    ]
    subprocess.run(install, check=True, env=surroundings.found())
    code = (
        "import json, sys, pathlib, numpy as np\n"
        "from edgelift_agent.runtime.litert import LiteRtRuntime\n"
        "from edgelift_contract.manifest import *\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "m = Manifest(schema=1, model='m', version='1', release_counter=1, variant='float32',"
        " hardware_class='x86-64-avx2', format='tflite', runtime='litert',"
        " files=[FileEntry('model.tflite', 1, '0'*64, 'model')], inputs=[TensorSpec('x','FP32',[1,4])],"
        " outputs=[TensorSpec('y','FP32',[1,2])], goldens=Goldens('g',1,Tolerance('k',0)),"
        " provenance=Provenance('0'*64,'r'))\n"
        "runtime = LiteRtRuntime()\n"
        "y = runtime.load(folder, m).run({'x': np.arange(4, dtype=np.float32).reshape(1, 4)})['y']\n"
        "print(json.dumps([runtime.version(), np.__version__, y.tolist()]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "agent")}
    done = subprocess.run([python, "-c", code, tflite.parent], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    version, numpy_version, got = json.loads(done.stdout.splitlines()[-1])
    assert version.startswith("2.14")
    assert numpy_version.startswith("1.")
    np.testing.assert_allclose(got, json.loads((tflite.parent / "expected.json").read_text()), atol=1e-5)


@pytest.mark.parametrize(
    ("plain", "gpu", "written", "version"),
    [
        ("1.20.0", "1.23.2", '__version__ = "1.23.2"', "1.23.2"),
        ("1.24.1", "1.23.2", "__version__ = '1.24.1'", "1.24.1"),
        ("1.20.0", "1.23.2", "from somewhere import __version__", "1.20.0"),
    ],
)
def test_of_two_packages_that_bring_onnxruntime_the_files_say_which_is_there(
    tmp_path: Path, plain: str, gpu: str, written: str, version: str
) -> None:
    for name, number in (("onnxruntime", plain), ("onnxruntime_gpu", gpu)):
        folder = tmp_path / f"{name}-{number}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").write_text(f"raise SystemExit('imported')\n{written}\n")
    code = "from edgelift_agent.runtime.ort import OnnxRuntime; print(OnnxRuntime().version())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT / "agent")])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == version, done.stderr


def test_a_candidate_gets_only_the_time_that_others_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its start, not from its `main`: importing a runtime is the most of its work."""
    import psutil

    from edgelift_agent.artifact.preflight import Preflight
    from edgelift_contract.errors import EdgeliftError

    # A candidate that never comes to its `main`, and does nothing about its priority.
    (tmp_path / "imports_for_ever.py").write_text("import time\ntime.sleep(3600)\n")
    monkeypatch.syspath_prepend(tmp_path)
    preflight = Preflight("x86-64-avx2", timeout_s=3600.0, module="imports_for_ever")
    caught: list[EdgeliftError] = []

    def run() -> None:
        try:
            preflight.run(tmp_path, manifest("model", "onnxruntime", "onnx"))
        except EdgeliftError as error:
            caught.append(error)

    def candidate() -> psutil.Process | None:
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                # Only ours: forkservers and the like of other tests live on beside it.
                if "imports_for_ever" in child.cmdline():
                    return child
        return None

    parent = threading.Thread(target=run, daemon=True)
    parent.start()
    until(candidate)
    child = candidate()
    assert child is not None
    try:
        # Looks may come before the parent has said so: on a busy machine it may wait for its own turn.
        until(lambda: child.nice() == 19)
    finally:
        child.terminate()
        parent.join()
    assert [error.code for error in caught] == ["no-memory"]  # it had not come to the artifact


def test_a_candidate_that_takes_more_memory_than_there_is_is_ended(tmp_path: Path) -> None:
    """The preflight's own limit, whatever the candidate's budget says."""
    from edgelift_agent.artifact.preflight import Preflight
    from edgelift_agent.artifact.store import Store
    from edgelift_agent.system.disk import Disk
    from edgelift_agent.testing.artifact import toy_artifact
    from edgelift_agent.testing.runtime import ToyModelFile

    store = Store(tmp_path, Disk())
    store.make_folders()
    wanted, blobs = toy_artifact("1", ToyModelFile(leak_mb=400, on_run="hang"))
    for sha256, data in blobs.items():
        store.blob(sha256).write_bytes(data)
    folder = store.stage(wanted.artifact, store.verify(wanted.artifact))
    preflight = Preflight(
        "x86-64-avx2", memory_limit_bytes=200 << 20, module="edgelift_agent.testing.preflight_child"
    )
    with pytest.raises(DeviceError) as caught:
        preflight.run(folder, store.manifest(wanted.artifact))
    assert caught.value.code == "no-memory"
