"""Agents side by side: each a venv of its own, never changed once it is whole; a link says which one runs."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .said import Place, Stopped, say
from .unpacked import Unpacked

#: Written into a venv when all of it is there.
_WHOLE = ".edgelift-whole"


@contextmanager
def alone(place: Place) -> Iterator[None]:
    """One installation at a time. Raises Stopped while another is under way."""
    place.home.mkdir(parents=True, exist_ok=True, mode=0o755)
    with (place.home / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Stopped("Another installation is under way on this board. Wait for it.") from error
        yield


def put(place: Place, bundle: Unpacked, user: int) -> Path:
    """Make the bundle's agent beside those that are there; returns its folder. Again is quick: what is whole is kept.

    Args:
        place: where.
        bundle: what.
        user: the agent's own, who must be able to run it.

    Raises:
        Stopped: no room, pip refused, or it does not start.
    """
    folder = place.home / "versions" / bundle.name
    if (folder / _WHOLE).exists():
        return folder
    if folder.exists():  # left by one that was cut short
        shutil.rmtree(folder)
    need = 4 * sum(file.stat().st_size for file in (bundle.folder / "wheels").iterdir())
    folder.parent.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(folder.parent).free) < need:
        raise Stopped(f"{folder.parent} has {free / 1e6:.0f} MB free, and some {need / 1e6:.0f} MB are needed.")
    say(f"installing edgelift-agent {bundle.version} into {folder}")
    try:
        venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
        _install(folder, bundle.folder)
        _check(folder, user)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    os.sync()  # all of it is on the disk before anything says so
    (folder / _WHOLE).touch()
    return folder


def _install(folder: Path, bundle: Path) -> None:
    """pip, from its own wheel: a board's Python may have none."""
    pip = next((bundle / "wheels").glob("pip-*.whl"))
    done = subprocess.run(
        [
            str(folder / "bin/python"), "-I", "-B", f"{pip}/pip", "--disable-pip-version-check", "--no-input",
            "--no-cache-dir",
            "install", "--quiet", "--no-index", "--find-links", str(bundle / "wheels"), "--no-deps", "--require-hashes",
            "-r", str(bundle / "requirements.txt"),
        ],
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        raise Stopped(f"The packages can't be installed: {' '.join(done.stderr.split())[-600:]}")


def _check(folder: Path, user: int) -> None:
    """Does it start at all, as the user that will run it?"""
    try:
        done = subprocess.run(
            [str(folder / "bin/edgelift-agent"), "--version"],
            capture_output=True, text=True, errors="replace", check=False, user=user, env={},
        )  # fmt: skip
    except OSError as error:
        python = (folder / "bin/python").resolve()
        raise Stopped(
            f"The agent's user can't run {python}: {error.strerror}. Use the system's Python."
        ) from error
    if done.returncode:
        raise Stopped(f"The new agent does not start on this board: {' '.join(done.stderr.split())[-600:]}")


def current(place: Place) -> str:
    """Name of the version that is current; empty where none is.

    Raises:
        Stopped: something else has the link's place.
    """
    if not place.current.is_symlink():
        if place.current.exists():
            raise Stopped(f"{place.current} is no link of this installer's. Move it away, then run this again.")
        return ""
    return place.current.readlink().name


def switch(place: Place, name: str) -> None:
    """Make a version current, by one rename."""
    link = place.current.with_name("current.new")
    link.unlink(missing_ok=True)
    link.symlink_to(Path("versions") / name)
    link.rename(place.current)
    descriptor = os.open(place.home, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def keep_only(place: Place, *names: str) -> None:
    """Remove the other versions."""
    for folder in (place.home / "versions").iterdir():
        if folder.name not in names:
            shutil.rmtree(folder, ignore_errors=True)
