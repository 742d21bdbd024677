"""The example is built twice in a session: once where it lies, once from a copy elsewhere."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgelift_builder.child import Child, Process
from edgelift_contract.hardware import this_machine
from edgelift_contract.manifest import Manifest, parse_manifest
from tests import forking
from tests.forked import CHILD, CONVERTING

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "builder" / "examples" / "simplecnn.py"
TINY = Path(__file__).parent / "tiny.py"


def stands(candidate: dict[str, Any]) -> bool:
    """Does it hold its budget and ship, unless it was measured not to be faster where it has to be (x86-64 without VNNI)?"""
    left_out = candidate["code"] == "no-gain" and this_machine() == "x86-64-avx2"
    return candidate["verdict"] == "holds" and (candidate["shipped"] or left_out)


@pytest.fixture(autouse=True, scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nor do tests leave anything in the user's own."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["EDGELIFT_CACHE"] = str(folder)
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test of the command finds what another left."""
    monkeypatch.setenv("EDGELIFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def forked(command: str) -> Any:
    """A way for `Child` to start its process: forked, unless the environment asks for imports of its own."""

    def start(pipe: int, log: Path, environment: dict[str, str]) -> Process | forking.ForkedChild:
        own = {name: value for name, value in environment.items() if name not in ("TMPDIR", *forking.AS_CHILD)}
        if not forking.may_fork(own):
            return Process(pipe, log, environment)
        return forking.ForkedChild(command, pipe, log, environment)

    return staticmethod(start)


@pytest.fixture(autouse=True, scope="session")
def forked_children() -> None:
    """Builds in this process fork their children; those that tests run as commands start them the long way."""
    Child.start = forked(CHILD)


@dataclass(frozen=True)
class BuiltFolder:
    """A release folder and what the command printed."""

    folder: Path
    report: dict[str, Any]
    stderr: str

    @property
    def manifests(self) -> dict[str, Manifest]:
        return {p.name: parse_manifest(p.read_bytes()) for p in sorted((self.folder / "manifests").iterdir())}

    @property
    def release(self) -> dict[str, Any]:
        return json.loads((self.folder / "release.json").read_bytes())

    def unpack(self, artifact: str, to: Path) -> Manifest:
        """Lay an artifact's files out as a device would."""
        manifest = self.manifests[artifact]
        to.mkdir(parents=True, exist_ok=True)
        for entry in manifest.files:
            shutil.copy(self.folder / "blobs" / entry.sha256, to / entry.path)
        return manifest


def edgelift(*args: str | Path, cwd: Path | None = None, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would, in a process of its own."""
    return subprocess.run(
        command(*args),
        cwd=cwd or ROOT, env=environment(), capture_output=True, text=True, **({"timeout": 500} | more),
    )  # fmt: skip


def command(*args: str | Path) -> list[str]:
    return [sys.executable, "-c", "from edgelift.cli import main; main()", *map(str, args)]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": f"{ROOT / 'builder'}:{ROOT / 'agent'}", "COLUMNS": "200"}


def example(source: Path, out: Path) -> list[str | Path]:
    """How to build it; anew, for a twin must not be taken from the cache."""
    boards = ["--target", "x86-64", "--target", "rpi4"]
    return ["build", f"{source}:digits", *boards, "--out", out, "--json", "--force"]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> BuiltFolder:
    """The example, built where it lies: once, whichever of the workers comes first; nobody changes it."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "built"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        told = shared / "stderr"
        if not told.exists():
            done = edgelift(*example(EXAMPLE, shared / "release"))
            assert done.returncode == 0, done.stderr
            told.write_text(done.stderr)
    report = json.loads((shared / "release" / "report.json").read_bytes())
    return BuiltFolder(shared / "release", report, told.read_text())


@pytest.fixture(scope="session")
def twin_begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """The build of `twin`, and the folder that it runs in: its module's first fixture, so as to run beside `built`."""
    elsewhere = tmp_path_factory.mktemp("else where")
    shutil.copy(EXAMPLE, elsewhere)
    how = command(*example(Path(EXAMPLE.name), elsewhere / "out" / "release"))
    with subprocess.Popen(
        how, cwd=elsewhere, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        yield process, elsewhere
        process.terminate()  # where nobody asked for it


@pytest.fixture(scope="session")
def twin(twin_begun: tuple[subprocess.Popen[str], Path]) -> BuiltFolder:
    """The example copied to another folder and built from there."""
    process, elsewhere = twin_begun
    _, complaint = process.communicate(timeout=500)
    assert process.returncode == 0, complaint
    out = elsewhere / "out" / "release"
    return BuiltFolder(out, json.loads((out / "report.json").read_bytes()), "")


@pytest.fixture
def float_recipe(tmp_path: Path) -> Path:
    """ONNX in float and nothing else: the quickest build there is."""
    path = tmp_path / "quick.toml"
    path.write_text(
        'name = "quick"\n'
        '[[variant]]\nname = "float32"\nformat = "onnx"\nrequired = true\nsteps = ["export-onnx"]\n'
    )
    return path


@pytest.fixture
def onnx_recipe(float_recipe: Path) -> Path:
    """ONNX in float and int8."""
    path = float_recipe.with_name("onnx.toml")
    text = '[[variant]]\nname = "int8-static"\nformat = "onnx"\nsteps = ["export-onnx", "static-int8"]\n'
    path.write_text(float_recipe.read_text().replace('"quick"', '"onnx"') + text)
    return path


@pytest.fixture
def build_tiny(tmp_path: Path, session_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., BuiltFolder]:
    """Build a function of tiny.py, or a model file, in this process; what one test converted the next need not again."""
    monkeypatch.setenv("EDGELIFT_CACHE", str(session_cache))

    def make(function: str, recipe: Path, **more: Any) -> BuiltFolder:
        if Path(recipe).is_file() and "tflite" in Path(recipe).read_text():  # else the name of one
            monkeypatch.setattr(Child, "start", forked(CONVERTING))
        from edgelift_builder.build import build
        from edgelift_builder.report.progress import Quiet
        from edgelift_builder.request import Request

        fields = {"targets": ["x86-64"], "recipe": str(recipe), "out": tmp_path / "out" / "release"} | more
        out = fields["out"]
        build(Request(function if "/" in function else f"{TINY}:{function}", **fields), Quiet())
        return BuiltFolder(out, json.loads((out / "report.json").read_bytes()), "")

    return make
