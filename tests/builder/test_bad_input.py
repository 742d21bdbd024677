"""Every wrong input: one sentence that says what, where and what to do; nothing written."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgelift_contract import ContractError, DeviceError, EdgeliftError
from tests.builder import files
from tests.builder.conftest import EXAMPLE, ROOT, TINY, BuiltFolder, edgelift
from tests.waiting import LONG_S, until

pytestmark = pytest.mark.builder

PATHS = {"PYTHONPATH": f"{ROOT / 'builder'}:{ROOT / 'agent'}"}
Build = Callable[..., BuiltFolder]


def refused(build: Build, tmp_path: Path, function: str, recipe: Path, **more: object) -> EdgeliftError:
    with pytest.raises(EdgeliftError) as caught:
        build(function, recipe, **more)
    assert not (tmp_path / "out").exists(), "something was written"
    assert "Traceback" not in str(caught.value) and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    return caught.value


@pytest.mark.parametrize(
    ("function", "code", "words"),
    [
        (
            "wrong_shape",
            "shape-mismatch",
            r"x float32\[1, 1, 10, 10\] .* layer fc \(Linear, which expects 512 input",
        ),
        ("wrong_data_shape", "shape-mismatch", r"evaluation input x is float32\[1, 9, 9\] .* float32\[1, 8, 8\]"),
        ("too_few_labels", "source-invalid", "3 evaluation labels for 400"),
        (
            "raises",
            "source-raised",
            r"raises in tiny.py raised KeyError: 'learning_rate'.* line \d+: raise KeyError",
        ),
        ("exits", "source-raised", "SystemExit: 3"),
        ("crashes", "source-raised", "SIGSEGV"),
        ("not_a_source", "source-invalid", "returned dict, not a Source"),
        ("state_dict", "source-invalid", "a state dict: weights without the model"),
        ("state_dict_as_model", "source-invalid", "a state dict, not a torch.nn.Module"),
        ("bad_name", "bad-id", "My Model!"),
        ("tinny", "source-missing", "no function 'tinny'. Did you mean tiny"),
        ("unsupported", "unsupported-operator", "ONNX has no operator for [\\w.]*bessel_j0"),
        ("branching", "conversion-failed", "control flow depends on the data"),
    ],
)
def test_a_wrong_source_is_refused_in_words(
    build_tiny: Build, tmp_path: Path, float_recipe: Path, function: str, code: str, words: str
) -> None:
    error = refused(build_tiny, tmp_path, function, float_recipe)
    assert (error.code, bool(re.search(words, str(error)))) == (code, True), str(error)


def test_labels_that_cannot_be_scored_are_told_when_the_source_is_loaded(tmp_path: Path) -> None:
    from edgelift_builder.source.load import load_source

    with pytest.raises(ContractError, match=r"labels float32\[400\]") as caught:
        load_source(str(TINY), "regression", "", str(tmp_path))
    assert caught.value.code == "source-invalid" and "metric" in caught.value.hint


def test_a_source_that_hangs_is_stopped(build_tiny: Build, tmp_path: Path, float_recipe: Path) -> None:
    error = refused(build_tiny, tmp_path, "hangs", float_recipe, timeout_s=4.0)
    assert error.code == "source-hung" and "within 4 seconds" in error.message and "--timeout" in error.hint


def test_nan_in_calibration_is_named(build_tiny: Build, onnx_recipe: Path) -> None:
    built = build_tiny("calibration_with_nan", onnx_recipe)
    rejected = next(c for c in built.report["candidates"] if c["variant"] == "int8-static")
    assert not rejected["shipped"]
    assert "Calibration sample 3 of the input x holds NaN" in rejected["reason"]


def test_the_reference_model_with_32_by_32_is_told_which_layer(tmp_path: Path, float_recipe: Path) -> None:
    out = tmp_path / "out"
    done = edgelift("build", f"{EXAMPLE}:digits_32", "--target", "x86-64", "--recipe", float_recipe, "--out", out)
    assert done.returncode == 1 and done.stdout == ""
    assert "x float32[1, 1, 32, 32] does not fit the model: layer fc1" in done.stderr
    assert "expects 2304 input features" in done.stderr and "(shape-mismatch)" in done.stderr
    assert "Traceback" not in done.stderr and not out.exists()


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("nowhere.py:f", "source-missing", "no file nowhere.py"),
        (f"{EXAMPLE.parent}/simplecn.py:digits", "source-missing", "Did you mean simplecnn.py"),
        (str(EXAMPLE), "source-missing", "names no function"),
        ("weights.pt", "source-missing", "no file weights.pt"),
        (f"{ROOT}/pyproject.toml:f", "source-invalid", "not a Python file"),
    ],
)
def test_a_source_that_is_none(tmp_path: Path, source: str, code: str, words: str) -> None:
    from edgelift_builder.build import build
    from edgelift_builder.report.progress import Quiet
    from edgelift_builder.request import Request

    with pytest.raises(ContractError) as caught:
        build(Request(source, ["x86-64"], out=tmp_path / "out" / "r"), Quiet())
    assert caught.value.code == code and words in str(caught.value)
    assert not (tmp_path / "out").exists()


TYPOS = """
import base64
try:
    from math import sqrt as root
except ImportError:
    def root(x): return x
if True:
    def nested(): return inner()
async def later(): ...
def _hidden(): ...
made = lambda: 1
raise SystemExit("this file was run")
"""


@pytest.mark.parametrize("name", ["base64", "root", "nested", "later", "_hidden", "made"])
def test_a_name_bound_at_top_level_is_there(tmp_path: Path, name: str) -> None:
    from edgelift_builder.source.named import split_source

    (tmp_path / "s.py").write_text(TYPOS)
    assert split_source(f"{tmp_path / 's.py'}:{name}") == (tmp_path / "s.py", name)


@pytest.mark.parametrize(
    "more",
    ["from os.path import *", "globals()['late'] = 1", "exec('late = 1')", "def __getattr__(name): ...",
     "import sys\nsetattr(sys.modules[__name__], 'late', 1)", "def f():\n    global late\n    late = 1"],
)  # fmt: skip
def test_names_made_while_running_are_given_the_benefit_of_the_doubt(tmp_path: Path, more: str) -> None:
    from edgelift_builder.source.named import split_source

    (tmp_path / "s.py").write_text(f"{TYPOS}\n{more}\n")
    assert split_source(f"{tmp_path / 's.py'}:late")[1] == "late"


@pytest.mark.parametrize(
    ("source", "data", "words"),
    [
        ("s.py:nestd", "", "no function 'nestd'. Did you mean nested"),
        ("s.py:inner", "", "no function 'inner'. Did you mean root or nested or later"),
        ("net.onnx", "s.py:nestd", "no function 'nestd'. Did you mean nested"),
        ("net.onnx", "n.npz", "no file n.npz"),
        ("broken.py:f", "", "broken.py raised SyntaxError"),
    ],
)
def test_a_wrong_name_is_told_before_anything_runs(tmp_path: Path, source: str, data: str, words: str) -> None:
    (tmp_path / "s.py").write_text(TYPOS)
    (tmp_path / "broken.py").write_text("def f(:\n")
    (tmp_path / "net.onnx").write_bytes(b"not looked at")
    code = (
        "import sys; from pathlib import Path; started = []\n"
        "sys.addaudithook(lambda event, _: event == 'subprocess.Popen' and started.append(event))\n"
        "from edgelift_builder.build import build; from edgelift_builder.request "
        "import Request; from edgelift_builder.report.progress import Quiet\n"
        "try: build(Request(sys.argv[1], ['x86-64'], data=sys.argv[2], out=Path('out/r')), Quiet())\n"
        "except Exception as error: print(error, error.hint)\n"
        "print('torch' in sys.modules, bool(started))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, source, data],
        cwd=tmp_path,
        env=os.environ | PATHS,
        text=True,
        capture_output=True,
    )
    lines = done.stdout.splitlines()
    assert words in lines[0] and "this file was run" not in done.stdout, done.stdout + done.stderr
    assert lines[-1] == "False False" and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"model": "No Good"}, "bad-id"),
        ({"model": "there"}, "conflict"),
        ({"out": Path("releases/there@1")}, "conflict"),
        ({"version": "next"}, "bad-id"),
        ({"recipe": "int8-statc"}, "unknown-recipe"),
        ({"targets": ["rpi44"]}, "unknown-target"),
    ],
)
def test_a_wrong_option_is_told_before_the_source_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, object], code: str
) -> None:
    from edgelift_builder.build import build
    from edgelift_builder.report.progress import Quiet
    from edgelift_builder.request import Request

    (tmp_path / "s.py").write_text(TYPOS)
    (tmp_path / "releases" / "there@1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ContractError) as caught:
        build(Request("s.py:nested", **({"targets": ["x86-64"]} | more)), Quiet())  # type: ignore[arg-type] # one of several
    assert caught.value.code == code  # running the file raises


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        ({"targets": ["rpi44"]}, "unknown-target", "Did you mean rpi4"),
        ({"targets": ["armv7"]}, "unsupported-platform", "64-bit Raspberry Pi OS"),
        ({"recipe": "int8-statc"}, "unknown-recipe", "Did you mean int8-static"),
        ({"version": "next"}, "bad-id", "--counter"),
        ({"version": "1/2"}, "bad-id", "does not name a release"),
        ({"model": "No Good"}, "bad-id", "No Good"),
    ],
)
def test_a_wrong_option_is_refused_with_what_is_near(
    build_tiny: Build, tmp_path: Path, float_recipe: Path, more: dict[str, object], code: str, words: str
) -> None:
    recipe = more.pop("recipe", float_recipe)
    error = refused(build_tiny, tmp_path, "tiny", recipe, **more)  # type: ignore[arg-type]  # one of them is a str
    assert error.code == code and words in str(error)


def test_an_existing_release_is_not_written_over(build_tiny: Build, float_recipe: Path, tmp_path: Path) -> None:
    source = str(files.onnx_file(tmp_path / "net.onnx"))
    build_tiny(source, float_recipe)
    before = (tmp_path / "out" / "release" / "release.json").read_bytes()
    with pytest.raises(ContractError) as caught:
        build_tiny(source, float_recipe, version="2")
    assert caught.value.code == "conflict" and "--force" in caught.value.hint
    assert (tmp_path / "out" / "release" / "release.json").read_bytes() == before
    assert build_tiny(source, float_recipe, version="2", force=True).release["version"] == "2"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["release"]


@pytest.fixture(params=[64, 120, 152, 180])
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system with this many KB: full while the data is written, while converting, while packaging."""
    where = tmp_path / "small"
    where.mkdir()
    mounted = os.geteuid() == 0 and shutil.which("mount") is not None
    if mounted:
        command = ["mount", "-t", "tmpfs", "-o", f"size={request.param}k", "tmpfs", str(where)]
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    if not mounted:
        pytest.skip("mounting needs root; the limit on file sizes below tests the same")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


def test_a_full_disk_leaves_nothing(small_disk: Path, float_recipe: Path) -> None:
    done = edgelift(
        "build", f"{TINY}:tiny", "--target", "x86-64", "--recipe", float_recipe, "--out", small_disk / "out" / "r"
    )
    assert done.returncode == 1 and "(disk-full)" in done.stderr and "--out" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert list(small_disk.iterdir()) == []


def test_a_limit_on_file_sizes_leaves_nothing(tmp_path: Path, float_recipe: Path) -> None:
    out = tmp_path / "out"
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))  # noqa: E731 - for one call
    done = edgelift(
        "build",
        f"{TINY}:tiny",
        "--target",
        "x86-64",
        "--recipe",
        float_recipe,
        "--out",
        out / "r",
        preexec_fn=limit,
    )
    assert done.returncode == 1 and "(disk-full)" in done.stderr, done.stderr
    assert not out.exists()


def test_a_folder_that_cannot_be_written(build_tiny: Build, tmp_path: Path, float_recipe: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DeviceError) as caught:
        build_tiny("tiny", float_recipe, out=tmp_path / "file" / "release")
    assert caught.value.code == "read-only" and "--out" in caught.value.hint
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
def test_a_killed_build_leaves_no_release_and_no_process(tmp_path: Path, float_recipe: Path, how: int) -> None:
    out = tmp_path / "out"
    code = "from edgelift.cli import main; main()"
    arguments = ["build", f"{TINY}:hangs", "--target", "x86-64", "--recipe", float_recipe, "--out", out / "r"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'builder'}:{ROOT / 'agent'}"}
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], env=environment, cwd=ROOT, stderr=subprocess.PIPE
    ) as process:
        until(lambda: list(out.glob(".edgelift-partial-*/source.log")), "a child that has settled", 5 * LONG_S)
        children = _children(process.pid)
        process.send_signal(how)
        _, complaint = process.communicate()
    assert process.returncode != 0 and b"Traceback" not in complaint
    assert not (out / "r").exists()
    _wait_until_gone(children)
    if how != signal.SIGKILL:
        assert not out.exists()
        return
    # What could not be cleaned up by the killed is swept away by the next.
    assert [p.name for p in out.iterdir()] == [f".edgelift-partial-{process.pid}"]
    from edgelift_builder.staging import sweep

    sweep(out)
    assert list(out.iterdir()) == []


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _wait_until_gone(pids: list[int]) -> None:
    until(lambda: not any(_running(pid) for pid in pids), f"the end of {pids}")


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
