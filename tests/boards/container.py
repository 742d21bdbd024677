"""A board that boots for real: systemd as PID 1 in namespaces of its own, on a copy of this system that is thrown away.

The copy is an overlay in memory, held by a process of its own, so that a power cut (the whole container killed) loses
what runs and nothing that was written. It has a network of its own, in which the control plane runs beside it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.waiting import LONG_S, until

_HOLD = r"""
set -e
ip link set lo up
mount -t tmpfs copy "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" root "$1/root"
cd "$1/root"
rm -rf etc/systemd/system/*.wants etc/machine-id opt/edgelift
: >etc/machine-id
ln -sf /usr/lib/systemd/system/multi-user.target etc/systemd/system/default.target
for unit in postgresql mosquitto prometheus systemd-timesyncd systemd-networkd-wait-online; do
  ln -sf /dev/null "etc/systemd/system/$unit.service"
done
echo held
exec sleep infinity
"""


def needed() -> None:
    """Skip where a container can't be had; in CI that is a failure."""
    missing = [name for name in ("systemd-nspawn", "nsenter", "ip") if not shutil.which(name, path=_path())]
    why = f"{missing[0]} is not installed" if missing else "needs root" if os.geteuid() else ""
    if why and os.environ.get("EDGELIFT_REQUIRE_SERVERS"):
        pytest.fail(why)
    if why:
        pytest.skip(why)


def _path() -> str:
    return os.environ["PATH"] + ":/usr/sbin:/sbin"


class Board:
    """A machine that can be switched on, cut off and asked."""

    def __init__(self, holder: int, folder: Path) -> None:
        self._holder, self.folder = holder, folder
        self._spawned: subprocess.Popen[bytes] | None = None
        self._init = 0

    @property
    def root(self) -> Path:
        """Its files, as this process can reach them."""
        return Path(f"/proc/{self._holder}/root{self.folder}/copy/root")

    def beside(self, *words: object) -> list[str]:
        """A command in the board's network, on this system."""
        return ["nsenter", "-t", str(self._holder), "-n", *map(str, words)]

    def boot(self) -> None:
        """Switch it on; returns once systemd has started all it can."""
        log = (self.folder / "console.log").open("ab")
        self._spawned = subprocess.Popen(
            ["nsenter", "-t", str(self._holder), "-m", "-n", "systemd-nspawn", "--quiet", "--register=no", "--keep-unit",
             "--console=pipe", f"--machine=board-{self._holder}", "-D", str(self.folder / "copy/root"), "--boot"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "PATH": _path()},
        )  # fmt: skip
        log.close()
        until(self._found_init, "PID 1 of the board")
        until(
            lambda: self.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded"),
            "a booted board",
        )

    def _found_init(self) -> bool:
        assert self._spawned is not None and self._spawned.poll() is None, self.console()
        for child in psutil.Process(self._spawned.pid).children(recursive=True):
            try:
                if Path(child.exe()).name == "systemd":
                    self._init = child.pid
                    return True
            except (psutil.Error, OSError):
                continue
        return False

    def run(self, *words: object, check: bool = False) -> subprocess.CompletedProcess[str]:
        """A command on the board, as root."""
        done = subprocess.run(
            ["nsenter", "-t", str(self._init), "-m", "-u", "-i", "-p", "-n", "-r", "-w", *map(str, words)],
            capture_output=True, text=True, timeout=900, check=False, stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{words}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
        return done

    def start(self, *words: object) -> subprocess.Popen[bytes]:
        """A command on the board that is not waited for."""
        return subprocess.Popen(
            ["nsenter", "-t", str(self._init), "-m", "-u", "-i", "-p", "-n", "-r", "-w", *map(str, words)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
        )  # fmt: skip

    def cut_power(self) -> None:
        """All of it ends at once, with nothing written any more by anybody."""
        assert self._spawned is not None
        os.kill(self._init, signal.SIGKILL)
        self._spawned.wait(LONG_S)
        self._spawned, self._init = None, 0

    def console(self) -> str:
        return (self.folder / "console.log").read_text(errors="replace")[-3000:]

    def end(self) -> None:
        if self._spawned is not None and self._spawned.poll() is None:
            if self._init:
                os.kill(self._init, signal.SIGKILL)
            else:
                self._spawned.kill()
            self._spawned.wait(LONG_S)


@contextmanager
def board(folder: Path) -> Iterator[Board]:
    """A board that is switched off; all of it is gone at the end."""
    needed()
    (folder / "copy").mkdir(parents=True)
    holder = subprocess.Popen(
        ["unshare", "-m", "-n", "--propagation", "private", "sh", "-c", _HOLD, "hold", str(folder / "copy")],
        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env={**os.environ, "PATH": _path()},
    )  # fmt: skip
    assert holder.stdout is not None
    made = Board(holder.pid, folder)
    try:
        assert holder.stdout.readline() == b"held\n"
        yield made
    finally:
        made.end()
        holder.kill()
        holder.wait()
        holder.stdout.close()


def python() -> str:
    """The system's Python, which the board has too."""
    done = subprocess.run(
        ["/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()
