"""Docs that can't rot: every setting, code and command is documented, and every test that is named exists."""

import ast
import collections
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from scripts import architecture

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


PAGE = (ROOT / "docs" / "architecture.md").read_text()


def test_every_path_that_the_architecture_names_exists() -> None:
    """By path: below one of the packages, or from the top of the repository."""
    places = [ROOT, *(ROOT / top / package for package, top in architecture.PACKAGES.items())]
    for name in set(re.findall(r"`([\w./-]+\.(?:py|md|toml))`", PAGE)):
        assert any((place / name).is_file() for place in places), name


@pytest.mark.parametrize("package", architecture.PACKAGES)
def test_every_module_is_on_the_map_by_its_path(package: str) -> None:
    listed = re.findall(r"^\| `([\w./]+\.py)` \|", architecture.parts_of(PAGE)[package], re.MULTILINE)
    assert listed == list(architecture.modules(package)), "scripts/check --fix makes the list anew"


@pytest.mark.parametrize("picture", ["layers", "transitions"])
def test_the_pictures_show_what_the_code_says(picture: str) -> None:
    assert architecture.parts_of(PAGE)[picture] == architecture.PARTS[picture](), "scripts/check --fix"


def test_the_architecture_begins_with_its_pictures() -> None:
    assert re.findall(r"<!-- made: (\w+) -->", PAGE)[:2] == ["layers", "transitions"]
    assert PAGE.index("<!-- made: layers -->") < 600


#: Class names that stand in two modules, and may: each pair wants one of them renamed.
TWICE = {"Database", "Watch"}


def test_one_word_means_one_thing() -> None:
    """No two modules define a class of one name, private ones aside; the word table names classes that exist."""
    names = collections.Counter(
        node.name
        for package, top in architecture.PACKAGES.items()
        for path in (ROOT / top / package).rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert {name for name, number in names.items() if number > 1} <= TWICE
    table = PAGE.split("## The words")[1].split("\n## ")[0]
    for word in re.findall(r"`([A-Z]\w*[a-z]\w*)`", table):
        assert word in names, word


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
