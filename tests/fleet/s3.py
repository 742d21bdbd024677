"""A real S3, as a process: moto's server, on a free port, with a bucket."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.waiting import LONG_S, until

#: It takes any; boto refuses to ask without some.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "Swordfish-2", "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}  # fmt: skip


class S3:
    """The server; `url` is its endpoint, `bucket` exists. What it holds, it holds in memory."""

    bucket = "farm"

    def __init__(self, log: Path) -> None:
        self._log = log
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> S3:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(self._port)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        until(self._answers, "moto's server")
        self.empty()
        return self

    def empty(self) -> None:
        """Forget everything but an empty bucket."""
        assert requests.post(f"{self.url}/moto-api/reset", timeout=LONG_S).ok
        assert requests.put(f"{self.url}/{self.bucket}", timeout=LONG_S).status_code == 200

    def _answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self._log.read_text()
        try:
            return requests.get(self.url, timeout=LONG_S).ok
        except requests.ConnectionError:
            return False

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def keys(self) -> dict[str, int]:
        """Object → its bytes."""
        text = requests.get(f"{self.url}/{self.bucket}?list-type=2", timeout=LONG_S).text
        return {
            key: int(size) for key, size in re.findall(r"<Key>(.*?)</Key>.*?<Size>(\d+)</Size>", text, re.DOTALL)
        }


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A server that tests share."""
    made = S3(tmp_path_factory.mktemp("s3") / "log").start()
    try:
        yield made
    finally:
        made.kill()


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The server, with an empty bucket; this process and its children may enter."""
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": s3_server.url}.items():
        monkeypatch.setenv(name, value)
    s3_server.empty()
    return s3_server
