"""What one build made, the next finds: also after a kill; and only if nothing that matters has changed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgelift_builder import cache
from edgelift_builder.piece import LayerLoss, Piece, Range
from tests.builder import files
from tests.builder.conftest import ROOT, edgelift

pytestmark = pytest.mark.builder


def piece(folder: Path, key: str = "k" * 64) -> Piece:
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"graph")
    return Piece(
        "onnx", key, folder, (("model.onnx", "model"),), precision="int8", steps=("a", "b"), remarks=("r",),
        sensitivity=(LayerLoss("conv (Conv)", 0.25, True),), ranges=(Range("x", 0.0, 1.0, -1.0, 2.0, (3, 4)),),
    )  # fmt: skip


def test_a_piece_reads_back_equal(tmp_path: Path) -> None:
    made = piece(tmp_path / "p")
    cache.keep(made)
    found = cache.find(made.key)
    assert found is not None and found.model_path.read_bytes() == b"graph"
    assert found.folder != made.folder
    assert {n: v for n, v in vars(found).items() if n != "folder"} == {
        n: v for n, v in vars(made).items() if n != "folder"
    }
    assert cache.find("x" * 64) is None


@pytest.mark.parametrize("what", ["changed", "cut short", "gone", "no JSON"])
def test_a_damaged_entry_is_dropped(tmp_path: Path, own_cache: Path, what: str) -> None:
    made = piece(tmp_path / "p")
    cache.keep(made)
    folder = own_cache / "steps" / made.key
    if what == "gone":
        (folder / "model.onnx").unlink()
    elif what == "no JSON":
        (folder / "piece.json").write_text("{")
    else:
        (folder / "model.onnx").write_bytes(b"graqh" if what == "changed" else b"gra")
    assert cache.find(made.key) is None and not folder.exists()


def test_the_oldest_go_when_it_is_full(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LIMIT_BYTES", 2500)
    for n in range(4):
        made = piece(tmp_path / str(n), f"{n}" * 64)
        (made.folder / "model.onnx").write_bytes(bytes(500))
        cache.keep(made)
        os.utime(own_cache / "steps" / made.key, (n, n))
    assert cache.find("0" * 64) is None and cache.find("3" * 64) is not None


def test_what_a_killed_build_was_at_is_swept(tmp_path: Path, own_cache: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mine = own_cache / "steps" / f".kkkk-{os.getpid()}-00ff"
    for folder in (own_cache / "steps" / f".kkkk-{dead.pid}-00ff", mine):
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(b"half")
    made = piece(tmp_path / "p")
    cache.keep(made)
    assert {p.name for p in (own_cache / "steps").iterdir()} == {made.key, mine.name}


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EDGELIFT_CACHE", str(tmp_path / "file"))
    made = piece(tmp_path / "p")
    cache.keep(made)
    assert cache.find(made.key) is None


RECIPE = """
name = "two"
[[variant]]
name = "float32"
format = "onnx"
required = true
steps = ["export-onnx"]
[[variant]]
name = "fp16"
format = "onnx"
steps = ["export-onnx", "fp16"]
"""


#: Kills the build just before its second entry gets its name: no clock decides what there is by then.
AT_THE_SECOND_ENTRY = """
import os, signal, sys
seen = 0
def hook(event, args):
    global seen
    place, name = os.path.split(str(args[1])) if event == "os.rename" else ("", "")
    if place.endswith("/cache/steps") and not name.startswith("."):
        seen += 1
        if seen == 2:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
"""


def test_a_killed_build_goes_on_where_it_was(tmp_path: Path, own_cache: Path) -> None:
    recipe, out = tmp_path / "two.toml", tmp_path / "out" / "r"
    recipe.write_text(RECIPE)
    source = files.onnx_file(tmp_path / "net.onnx")
    arguments = ["build", source, "--target", "rpi4", "--recipe", recipe, "--out", out]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'builder'}:{ROOT / 'agent'}"}
    code = f"{AT_THE_SECOND_ENTRY}\nfrom edgelift.cli import main; main()"
    killed = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], env=environment)
    assert killed.returncode == -signal.SIGKILL and not out.exists()
    assert [p for p in (own_cache / "steps").iterdir() if p.name[0] == "."]  # what it was at
    kept = {
        p.name: (p / "piece.json").stat().st_mtime_ns for p in (own_cache / "steps").iterdir() if p.name[0] != "."
    }
    assert len(kept) == 1
    done = edgelift(*arguments)
    assert done.returncode == 0, done.stderr
    assert out.exists() and [p.name for p in out.parent.iterdir()] == ["r"]
    assert not [p for p in (own_cache / "steps").iterdir() if p.name[0] == "."]
    entries = {
        p.name: (p / "piece.json").stat().st_mtime_ns for p in (own_cache / "steps").iterdir() if p.name[0] != "."
    }
    assert len(entries) == 2 and all(entries[name] == at for name, at in kept.items())  # not made again
    forced = edgelift(*arguments, "--force")
    assert forced.returncode == 0, forced.stderr
    again = {
        p.name: (p / "piece.json").stat().st_mtime_ns for p in (own_cache / "steps").iterdir() if p.name[0] != "."
    }
    assert set(again) == set(entries) and all(again[name] > at for name, at in entries.items())
