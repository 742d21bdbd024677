"""The plain TUF client: the usual conformance command line over the agent's own verification."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.simulators.file_server import FileServer
from tests.simulators.signer import Repo, target


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as server:
        yield server


def tufclient(*arguments: str | Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "edgelift_agent.tufclient", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_init_refresh_and_download_or_a_sentence_that_says_why_not(server: FileServer, tmp_path: Path) -> None:
    repo = Repo("any", 4_000_000_000.0)
    repo.targets.targets["a/file"] = target("a/file", b"content")
    repo.publish()
    server.files = {f"/metadata/{name}": data for name, data in repo.files.items()}
    digest = repo.targets.targets["a/file"].hashes["sha256"]
    server.files[f"/targets/a/{digest}.file"] = b"content"
    (tmp_path / "root.json").write_bytes(repo.files["1.root.json"])
    trusted, out = tmp_path / "trusted", tmp_path / "out"
    trusted.mkdir()
    out.mkdir()
    kept = ("--metadata-dir", trusted)
    there = (*kept, "--metadata-url", f"{server.url}/metadata")
    wanted = ("--target-name", "a/file", "--target-base-url", f"{server.url}/targets", "--target-dir", out)
    assert tufclient(*kept, "init", tmp_path / "root.json") == (0, "")
    assert tufclient(*there, "refresh") == (0, "")
    code, text = tufclient(*there, *wanted, "download")
    assert (code, Path(text.strip()).read_bytes()) == (0, b"content")
    assert tufclient(*there, *wanted, "download")[0] == 0  # it is there already, and verified again

    server.files[f"/targets/a/{digest}.file"] = b"another"
    next(out.iterdir()).unlink()
    code, text = tufclient(*there, *wanted, "download")
    assert code == 1 and "(digest-mismatch)" in text and not any(out.iterdir())
    code, text = tufclient(*there, "--target-name", "b", "--target-dir", out, "download")
    assert code == 1 and "(not-found)" in text
    repo.signers["timestamp"] = repo.signers["snapshot"]
    repo.publish()
    server.files |= {f"/metadata/{name}": data for name, data in repo.files.items()}
    code, text = tufclient(*there, "refresh")
    assert code == 1 and "(not-signed)" in text and "Traceback" not in text
