"""What the commands say in a device's venv, where the host's packages are not installed."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: What `pip install edgelift` brings that these commands need.
BASE = ("msgspec", "psutil", "tomli")


@pytest.fixture
def base_packages(tmp_path: Path) -> Path:
    """A folder with the base packages alone, as a bare venv's site-packages."""
    folder = tmp_path / "packages"
    folder.mkdir()
    for name in BASE:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            (folder / name).symlink_to(Path(spec.origin).parent)
    return folder


def run(packages: Path, module: str, *words: str) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT / "agent"), str(ROOT / "builder"), str(packages)]
    code = f"import sys; sys.path += {paths!r}; sys.argv[0] = 'edgelift'; from {module} import main; main()"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, *words], capture_output=True, text=True, cwd=packages
    )


@pytest.mark.parametrize(
    "words", [[], ["--help"], ["build", "model.py:source", "-t", "rpi4"], ["serve"], ["doctor"]]
)
def test_the_hosts_command_says_what_to_install(base_packages: Path, words: list[str]) -> None:
    done = run(base_packages, "edgelift.cli", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "typer is not installed here" in done.stderr
    assert "[builder] or [fleet]" in done.stderr


def test_with_the_fleets_packages_alone_it_is_the_builders_extra_that_a_build_lacks(base_packages: Path) -> None:
    pytest.importorskip("typer", reason="the host's packages are not installed")
    for name in (
        "typer",
        "rich",
        "shellingham",
        "markdown_it",
        "mdurl",
        "pygments",
        "click",
        "typing_extensions.py",
    ):
        found = importlib.util.find_spec(name.removesuffix(".py"))
        if found is not None and found.origin is not None:
            origin = Path(found.origin)
            (base_packages / name).symlink_to(origin if name.endswith(".py") else origin.parent)
    done = run(base_packages, "edgelift.cli", "build", "model.py:source", "-t", "rpi4")
    assert done.returncode == 1 and "is not installed here" in done.stderr, done.stderr
    assert "with the extra [builder];" in done.stderr
    done = run(base_packages, "edgelift.cli", "releases")
    assert done.returncode == 1 and "with the extra [fleet];" in done.stderr, done.stderr


def test_the_devices_command_needs_none_of_them(base_packages: Path) -> None:
    done = run(base_packages, "edgelift_agent.cli", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--config" in done.stdout
