"""A build whose standard streams are closed, full, or read by nobody; what names its release; how it is told more."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgelift_builder.staging import put_in_place, staging
from edgelift_contract import ContractError, DeviceError
from tests.builder import files
from tests.builder.conftest import ROOT, TINY, command, edgelift, environment

pytestmark = [pytest.mark.builder, pytest.mark.timeout(600)]


def quickest(folder: Path, recipe: Path, *more: str) -> list[str]:
    model = files.onnx_file(folder / "net.onnx")
    return command("build", model, "-t", "x86-64", "-r", recipe, "--out", folder / "out" / "release", *more)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_is_no_pipe_of_ours(tmp_path: Path, float_recipe: Path, closed: str) -> None:
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *quickest(tmp_path, float_recipe)]
    done = subprocess.run(shell, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "release" / "release.json").exists()
    assert "[1/" not in done.stdout  # what belongs on standard error, where that is closed


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["table", "json"])
def test_an_output_that_is_full_is_no_fault_of_ours(
    tmp_path: Path, float_recipe: Path, more: tuple[str, ...]
) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device, unbuffered in nothing
        done = subprocess.run(
            quickest(tmp_path, float_recipe, *more), cwd=ROOT, env=environment(), text=True, stdout=full,
            stderr=subprocess.PIPE,
        )  # fmt: skip
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "Standard output can't be written: No space left on device. The release is in " in last
    assert last.endswith("(disk-full)")


#: Standard error is a pipe that is full to the last byte and that nobody reads: a stopped `less`, a frozen terminal.
UNREAD = """
import os, select, signal, time
from edgelift_builder import ending
ending.listen()
reads, writes = os.pipe()
os.set_blocking(writes, False)
while select.select([], [writes], [], 0)[1]:
    os.write(writes, b"x" * 4096)
os.set_blocking(writes, True)
os.dup2(writes, 2)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(3600)
"""


def test_told_to_end_while_nobody_reads_what_it_says() -> None:
    ended = subprocess.run([sys.executable, "-c", UNREAD], env=environment())
    assert ended.returncode == 128 + signal.SIGTERM


def test_debug_may_stand_after_the_command(tmp_path: Path) -> None:
    done = edgelift("build", f"{TINY}:tinny", "--target", "x86-64", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "(source-missing)" in done.stderr


def test_a_release_that_another_build_made_meanwhile_is_not_written_over(tmp_path: Path) -> None:
    made, out = tmp_path / "staging" / "made", tmp_path / "out"
    for folder in (made, out):
        folder.mkdir(parents=True)
    (out / "release.json").write_text("another build's")
    with pytest.raises(ContractError) as caught:
        put_in_place(made, out, force=False)
    assert caught.value.code == "conflict" and (out / "release.json").read_text() == "another build's"


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_force_replaces_a_release_and_nothing_else(tmp_path: Path, float_recipe: Path, kind: str) -> None:
    out = tmp_path / "precious"
    if kind == "folder":
        out.mkdir()
    kept = out / "thesis.txt" if kind == "folder" else out
    kept.write_text("years of work")
    model = files.onnx_file(tmp_path / "net.onnx")
    done = edgelift("build", model, "-t", "x86-64", "-r", float_recipe, "--out", out, "--force")
    assert done.returncode == 1 and "is not a release" in done.stderr and "(conflict)" in done.stderr, done.stderr
    assert kept.read_text() == "years of work"


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--timeout", "inf", "--timeout"),
        ("--timeout", "1e300", "--timeout"),
        ("--search", f"{'9' * 400}d", "too long a time"),
        ("--counter", "9" * 20, "larger than 9007199254740992"),
        ("--version", "9" * 20, "larger than 9007199254740992"),
    ],
)
def test_a_number_out_of_bounds_is_refused_before_anything_is_made(
    tmp_path: Path, option: str, value: str, words: str
) -> None:
    model = files.onnx_file(tmp_path / "net.onnx")
    done = edgelift("build", model, "-t", "x86-64", "--out", tmp_path / "out" / "r", option, value)
    assert done.returncode in (1, 2) and words in done.stderr, done.stderr
    assert "[1/" not in done.stderr and "fault" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_library_that_cannot_be_mapped_is_not_called_missing(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(
        'raise ImportError("libtorch_cpu.so: failed to map segment from shared object")'
    )
    program = "from edgelift_builder.source import user_code; user_code.seed()"
    paths = {"PYTHONPATH": f"{tmp_path}:{environment()['PYTHONPATH']}"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment() | paths, capture_output=True, text=True
    )
    assert "DeviceError: torch cannot be loaded: libtorch_cpu.so: failed to map" in done.stderr, done.stderr


def test_no_descriptors_is_called_so(tmp_path: Path) -> None:
    with pytest.raises(DeviceError) as caught, staging(tmp_path / "out"):
        raise OSError(errno.EMFILE, "Too many open files")
    assert caught.value.code == "no-descriptors"
