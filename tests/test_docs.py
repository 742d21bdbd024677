"""Docs that can't rot: every setting, code and command is documented, and every test that is named exists."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from edgelift_agent.config import Config
from edgelift_contract.errors import CODES

ROOT = Path(__file__).parents[1]


def fields(struct: type[msgspec.Struct]) -> list[str]:
    found = []
    for field in msgspec.structs.fields(struct):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            found += fields(field.type)
        else:
            found.append(field.name)
    return found


@pytest.mark.parametrize("name", fields(Config))
def test_every_setting_is_documented(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs" / "configuration.md").read_text()


def test_every_error_code_is_documented_and_no_other() -> None:
    documented = re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(CODES)


def test_every_test_that_the_readme_names_exists() -> None:
    named = re.findall(r"::(test_\w+)", (ROOT / "README.md").read_text())
    assert len(named) >= 7
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name in named:
        assert f"def {name}" in tests, name


def test_every_file_that_the_architecture_names_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    known = {
        path.name
        for folder in ("agent", "builder", "benchmarks", "tests")
        for path in (ROOT / folder).rglob("*.py")
    }
    for name in set(re.findall(r"`(?:[\w/]+/)?(\w+\.py)`", text)):
        assert name in known, name


def test_every_module_of_the_agent_is_on_the_map() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    for path in (ROOT / "agent" / "edgelift_agent").rglob("*.py"):
        if path.name != "__init__.py" and "testing" not in path.parts:
            assert path.name in text, path.name


@pytest.mark.fleet
def test_every_command_has_a_help_text() -> None:
    code = "from edgelift.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, timeout=60)
    for command in (
        "build",
        "targets",
        "init",
        "publish",
        "serve",
        "releases",
        "devices",
        "device",
        "assign",
        "tag",
        "rollout",
    ):
        assert command in done.stdout
