"""Wheels for boards, fetched once; a control plane; bundles; and a board that boots."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelift.boards.agent_wheel import pack_agent
from edgelift.boards.wheels import fetch
from edgelift_builder.targets.pins import load_pins
from tests.boards import container
from tests.boards.container import Board
from tests.simulators.models import publish_onnx
from tests.simulators.releases import write_release
from tests.waiting import until

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that a board with this system's Python installs, from the package index."""
    folder = tmp_path_factory.mktemp("wheels")
    python = container.python()
    fetch([pin.line() for pin in load_pins(python)], python, "x86_64", folder)
    return folder


def changed_agent(folder: Path, version: str, *, broken: str = "") -> Path:
    """The agent's wheel as another version; `broken` stands at the head of its program."""
    made = pack_agent(folder / "as-it-is")
    other = folder / f"edgelift_agent-{version}-py3-none-any.whl"
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            data, name = old.read(entry), entry.filename.replace("-0.1.0.dist-info", f"-{version}.dist-info")
            if name == "edgelift_contract/__init__.py":
                data = data.replace(b'__version__ = "0.1.0"', f'__version__ = "{version}"'.encode())
                assert version.encode() in data
            if name == "edgelift_agent/app.py":
                data = data.replace(
                    b"from __future__ import annotations\n",
                    f"from __future__ import annotations\n{broken}\n".encode(),
                )
            if name.endswith("METADATA"):
                data = data.replace(b"Version: 0.1.0", f"Version: {version}".encode())
            if name.endswith("RECORD"):
                data = b"".join(
                    line.split(b",")[0].replace(b"-0.1.0.dist-info", f"-{version}.dist-info".encode()) + b",,\n"
                    for line in data.splitlines()
                )
            new.writestr(name, data)
    return other


class Shelf:
    """Where a model's files are put."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}


class Site:
    """A control plane in a board's network, and its operator."""

    def __init__(self, folder: Path, board: Board) -> None:
        self.folder, self.board = folder, board
        self.environment = {
            **os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "EDGELIFT_PASSPHRASE": "a passphrase of tests",
            "COLUMNS": "200",
        }  # fmt: skip
        self.server: subprocess.Popen[bytes] | None = None

    def edgelift(self, *words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.board.beside(sys.executable, "-c", "from edgelift.cli import main; main()", *words, "--site", self.folder),
            capture_output=True, text=True, timeout=900, env=self.environment, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{words}: {done.stdout[-1000:]}{done.stderr[-3000:]}"
        return done

    def publish(self, folder: Path, version: str) -> None:
        """A model that onnxruntime runs: many@VERSION, which answers (a + b) · VERSION."""
        host = Shelf()
        slot = publish_onnx(host, "many", version, scale=float(version))  # type: ignore[arg-type]  # a shelf for its blobs
        write_release(folder, [host.blobs[slot.artifact]], host.blobs)
        self.edgelift("publish", folder)

    def device(self, name: str) -> dict:
        return json.loads(self.edgelift("device", "show", name, "--json").stdout)

    def serve(self) -> None:
        self.edgelift("init")
        words = [
            sys.executable,
            "-c",
            "from edgelift.cli import main; main()",
            "serve",
            "--site",
            self.folder,
            "--port",
            "0",
        ]
        with self.folder.with_suffix(".log").open("wb") as log:
            self.server = subprocess.Popen(
                self.board.beside(*words), stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment
            )
        until((self.folder / "run/server.json").exists, "the control plane")

    def stop(self) -> None:
        if self.server is not None:
            self.server.send_signal(signal.SIGTERM)
            assert self.server.wait(120) == 0

    def bundle(self, out: Path, wheels: Path, *more: object) -> Path:
        """Made as its user would, and unpacked on the board; returns its folder there."""
        out.mkdir(parents=True, exist_ok=True)
        made = self.edgelift(
            "device",
            "bundle",
            "--target",
            "x86-64",
            "--python",
            container.python(),
            "--wheels",
            wheels,
            "--out",
            out,
            "--json",
            *more,
        )
        file = Path(json.loads(made.stdout)["bundle"]["path"])
        place = self.board.root / "root" / out.name
        place.mkdir(parents=True)
        with tarfile.open(file) as archive:
            archive.extractall(place, filter="data")
        return Path("/root") / out.name / file.name.removesuffix(".tar.gz")


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    """A board that is switched off."""
    with container.board(tmp_path / "board") as made:
        yield made


@pytest.fixture
def site(tmp_path: Path, board: Board, mosquitto_program: str) -> Iterator[Site]:
    """A control plane that the board reaches."""
    made = Site(tmp_path / "site", board)
    try:
        made.serve()
        yield made
    finally:
        made.stop()
