"""goosebit beside it: installed from PyPI into a venv of its own, run on loopback, its devices polled the same way."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from benchmarks.polls import measure_requests, pin_server

VERSION = "0.2.12"
DEVICES = 200


def cache() -> Path:
    """Where the venv is kept between runs."""
    root = Path(os.environ.get("EDGELIFT_CACHE") or Path.home() / ".cache" / "edgelift")
    return root / f"goosebit-{VERSION}"


def installed() -> Path:
    """Its Python; made the first time (a minute or two)."""
    folder = cache()
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", f"goosebit=={VERSION}"], check=True)
        (folder / "ready").touch()
    return python


@contextmanager
def running(folder: Path) -> Iterator[tuple[str, int]]:
    """Its server, as its own documentation starts it: uvicorn, SQLite, one worker; gives URL and process id."""
    python = installed()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = folder / "goosebit.yaml"
    config.write_text(
        f"port: {port}\ndb_uri: sqlite:///{folder / 'goosebit.db'}\nartifacts_dir: {folder / 'artifacts'}\n"
        f"tenant: DEFAULT\nsecret_key: {secrets.token_hex(32)}\npoll_time: 00:01:00\ntrack_device_ip: true\n"
        "users:\n  - username: admin@goosebit.local\n    hashed_pwd: x\n    permissions: ['*']\n"
    )
    env = {**os.environ, "GOOSEBIT_SETTINGS": str(config)}
    _make_tables(python, folder, env)
    with (folder / "goosebit.log").open("wb") as log:
        process = subprocess.Popen(
            [python, "-m", "goosebit"], cwd=folder, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url, process, folder / "goosebit.log")
        yield url, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _make_tables(python: Path, folder: Path, env: dict[str, str]) -> None:
    """By its own migrations, as its documentation has it done with aerich."""
    where = subprocess.run(
        [python, "-c", "import goosebit, pathlib; print(pathlib.Path(goosebit.__file__).parent)"],
        capture_output=True, text=True, check=True, cwd=folder, env=env,
    ).stdout.strip().splitlines()[-1]  # fmt: skip
    (folder / "pyproject.toml").write_text(
        f'[tool.aerich]\ntortoise_orm = "goosebit.db.config.TORTOISE_CONF"\nlocation = "{where}/db/migrations"\n'
        'src_folder = "./."\n'
    )
    done = subprocess.run(
        [python.parent / "aerich", "upgrade"], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"goosebit's tables could not be made:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            requests.get(url, timeout=5)
            return
        except requests.ConnectionError:
            time.sleep(0.2)
    raise RuntimeError(f"goosebit did not start:\n{log.read_text()[-3000:]}")


def measure_goosebit(folder: Path, clients: int, seconds: float) -> dict[str, Any]:
    """Polls a second of its devices' interface (hawkBit's DDI), each of an enrolled device that has no update."""
    with running(folder) as (url, pid):
        polls = [_poll(f"bench-{n:04d}") for n in range(DEVICES)]
        for n in range(DEVICES):
            where = url + _path(f"bench-{n:04d}")
            requests.get(where, timeout=60).raise_for_status()
            told = {"data": {"hw_boardname": "bench", "hw_revision": "1", "sw_version": "1"}}
            requests.put(f"{where}/configData", json=told, timeout=60).raise_for_status()  # enrolled from here on
        pin_server(pid)
        found = measure_requests(url, polls, clients, seconds)
    return {f"goosebit_{name}": value for name, value in found.items()}


def _path(device: str) -> str:
    return f"/DEFAULT/controller/v1/{device}"


def _poll(device: str) -> bytes:
    lines = [f"GET {_path(device)} HTTP/1.1", "Host: bench", "User-Agent: bench", "Accept: application/hal+json"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
