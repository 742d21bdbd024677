"""Ranges from streamed samples: right, and in memory that does not grow with their number."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgelift_builder import data
from edgelift_builder.optimise import calibration
from edgelift_contract import ContractError
from tests.builder import files
from tests.builder.conftest import ROOT

pytestmark = pytest.mark.builder

NAMES = ["x", "h0", "h1", "h2", "y"]


def _samples(path: Path, count: int, width: int = 64) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)
    data.save(path, {"x": x})
    return x


def test_streaming_a_data_set_gives_what_loading_it_gives(tmp_path: Path) -> None:
    made = {"b": np.arange(14, dtype=np.int64).reshape(7, 2), "a": np.random.default_rng(0).normal(size=(7, 3, 2))}
    data.save(tmp_path / "d.npz", made)
    for size in (1, 3, 100):
        parts = list(data.stream(tmp_path / "d.npz", size))
        assert all(data.length(p) <= size for p in parts)
        for name, array in made.items():
            assert (np.concatenate([p[name] for p in parts]) == array).all()


def test_min_and_max_are_those_of_all_samples(tmp_path: Path) -> None:
    x = _samples(tmp_path / "c.npz", 50)
    found = calibration.calibrate(files.onnx_file(tmp_path / "n.onnx"), NAMES, tmp_path / "c.npz", {}, "minmax")
    assert (found["x"].low, found["x"].high) == (float(x.min()), float(x.max()))
    assert found["h2"].low == 0.0 and found["h2"].high == found["h1"].most
    assert sum(found["x"].counts) == x.size and list(found) == NAMES


def test_a_percentile_leaves_outliers_out(tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, size=(500, 64)).astype(np.float32)
    x[7, 3] = 50.0
    data.save(tmp_path / "c.npz", {"x": x})
    path = files.onnx_file(tmp_path / "n.onnx")
    whole = calibration.calibrate(path, ["x"], tmp_path / "c.npz", {}, "minmax")["x"]
    cut = calibration.calibrate(path, ["x"], tmp_path / "c.npz", {}, "percentile", 99.9)["x"]
    assert whole.high == 50.0 and cut.most == 50.0
    assert 0.95 < cut.high < 1.1 and -1.1 < cut.low < -0.95


def test_entropy_keeps_the_body_of_a_distribution_and_cuts_its_tail() -> None:
    rng = np.random.default_rng(0)
    body = np.abs(rng.normal(size=1_000_000))
    counts = np.histogram(np.append(body, [40.0] * 3), calibration.BINS, (0, 40.0))[0]
    kept = calibration.entropy_threshold(counts) * 40.0 / calibration.BINS
    assert 2.0 < kept < 10.0  # around the body, a small part of the whole reach of 40
    even = np.full(calibration.BINS, 100)
    assert calibration.entropy_threshold(even) == calibration.BINS  # nothing there is an outlier


def test_a_bad_sample_is_named_and_an_activation_without_bounds_has_no_range(tmp_path: Path) -> None:
    path = files.onnx_file(tmp_path / "n.onnx")
    x = np.zeros((6, 64), np.float32)
    x[4, 0] = np.nan
    data.save(tmp_path / "c.npz", {"x": x})
    with pytest.raises(ContractError, match="sample 4 of the input x holds NaN"):
        calibration.calibrate(path, NAMES, tmp_path / "c.npz", {}, "minmax")
    x[4] = 3e38
    data.save(tmp_path / "c.npz", {"x": x})
    found = calibration.calibrate(path, NAMES, tmp_path / "c.npz", {}, "minmax")
    assert "x" in found and "h0" not in found  # it overflows there


def test_an_activation_of_one_value_has_a_range(tmp_path: Path) -> None:
    for value in (1.0, 0.0, -3e5):
        data.save(tmp_path / "c.npz", {"x": np.full((6, 64), value, np.float32)})
        path = files.onnx_file(tmp_path / "n.onnx")
        found = calibration.calibrate(path, ["x"], tmp_path / "c.npz", {}, "percentile")["x"]
        assert (found.least, found.most) == (value, value) and sum(found.counts) == 6 * 64


MEASURE = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
import onnxruntime
from edgelift_builder.optimise import calibration
status = lambda key: next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(key))
before = status("VmRSS")
calibration.calibrate(Path(sys.argv[1]), {names!r}, Path(sys.argv[2]), {{}}, "percentile")
print(status("VmHWM") - before)
"""


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path: Path) -> None:
    path = files.onnx_file(tmp_path / "n.onnx", width=16384)  # a sample is 64 KiB: 2,000 are 125 MiB
    peaks = {}
    for count in (50, 2000):
        _samples(tmp_path / f"{count}.npz", count, 16384)
        code = MEASURE.format(names=NAMES)
        arguments = [path, tmp_path / f"{count}.npz", ROOT / "builder", ROOT / "agent", ROOT]
        done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
        peaks[count] = int(done.stdout or -1)
        assert done.returncode == 0, done.stderr
    assert peaks[2000] < peaks[50] + 32 * 1024, peaks  # kB: a quarter of what 2,000 are
