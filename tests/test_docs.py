"""Docs that can't rot: every setting, code and command is documented, and every test that is named exists."""

import ast
import collections
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import tomli
from scripts import architecture

from edgelift_agent.config import Config
from edgelift_contract.assignment import Policy
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


#: Read by `read_token` in config.py.
OWN = {"token", "token_file"}


@pytest.fixture(scope="module")
def read_by_the_agent() -> set[str]:
    """Every attribute that the agent reads outside config.py."""
    folder = ROOT / "agent" / "edgelift_agent"
    places = [path for path in folder.rglob("*.py") if path.name != "config.py" and "testing" not in path.parts]
    nodes = (node for path in places for node in ast.walk(ast.parse(path.read_text())))
    return {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}


@pytest.mark.parametrize("name", sorted(set(fields(Config)) - OWN))
def test_every_setting_is_read_by_what_it_sets(name: str, read_by_the_agent: set[str]) -> None:
    """A setting that nothing reads is a promise that nothing keeps."""
    assert name in read_by_the_agent


def test_every_error_code_is_documented_and_no_other() -> None:
    documented = re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(CODES)


README = (ROOT / "README.md").read_text()
TESTS = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
PROMISES = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in README.split("## What happens when …")[1].split("\n## ")[0].splitlines()
    if line.startswith("| ") and not line.startswith("| |")
]


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise[0][:40].replace(" ", "-"))
def test_every_promise_of_the_readme_names_a_test_that_exists(promise: list[str]) -> None:
    """A name that ends in … is the beginning of one; `…::` stands for the file that the rows above name."""
    case, _, named = promise
    files = re.findall(r"(test_\w+\.py)", named)
    assert all(file in TESTS for file in files), files
    functions = re.findall(r"(test_\w+\.py|…)?::(test_\w+)", named)
    assert files or functions or re.search(r"`[^`]*\[[\w -]+…?\]`", named), f"{case} names no test"
    for file, function in functions:
        where = TESTS[file] if file in TESTS else "\n".join(TESTS.values())
        assert f"def {function}" in where, f"{file}::{function}"


def test_the_readme_rolls_out_to_a_tag_that_the_shipped_configuration_has() -> None:
    tags = tomli.loads((ROOT / "systemd" / "agent.toml").read_text())["tags"]
    (selected,) = re.findall(r"--to tag:(\S+)", README)
    assert selected in {f"{key}={value}" for key, value in tags.items()}


def test_the_readme_says_where_the_command_is_before_it_is_used() -> None:
    commands = [line.strip() for line in README.splitlines() if line.startswith("    ")]
    set_up = next(n for n, line in enumerate(commands) if ".venv/bin" in line and "scripts/setup" in line)
    assert set_up < next(n for n, line in enumerate(commands) if line.startswith("edgelift "))
    assert f"{Policy().probation_s:g} s after its swap" in README


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


DECISIONS = sorted((ROOT / "docs" / "adr").glob("0*.md"))


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.name[:4])
def test_every_decision_has_its_date_its_status_and_what_was_not_chosen(path: Path) -> None:
    text = path.read_text()
    assert re.match(rf"# {int(path.name[:4])}\. ", text)
    assert re.search(
        r"^Status: (proposed|accepted|superseded by \d+) · Date: 20\d\d-\d\d-\d\d$", text, re.MULTILINE
    )
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == ["Context", "Decision", "Not chosen", "Consequences"]
    assert f"({path.name})" in (path.parent / "README.md").read_text()


@pytest.mark.fleet
def test_every_command_has_a_help_text() -> None:
    code = "from edgelift.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True)
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


THREATS = (ROOT / "docs" / "threat-model.md").read_text()


def test_every_link_of_the_threat_model_leads_somewhere() -> None:
    named = re.findall(r"\]\(([^)#]+)", THREATS)
    assert named
    missing = [name for name in named if not (ROOT / "docs" / name).resolve().is_file()]
    assert not missing, missing


def test_every_attack_that_is_tested_has_its_line_in_the_threat_model_and_every_line_its_test() -> None:
    linked = {Path(name).name for name in re.findall(r"\]\(\.\./tests/attacks/([^)#]+)", THREATS)}
    assert linked == {path.name for path in (ROOT / "tests" / "attacks").glob("test_*.py")}
    rows = [
        line
        for line in THREATS.splitlines()
        if line.startswith("| ") and not line.startswith(("| Attack", "| Stolen"))
    ]
    assert rows and all("](../tests/" in row for row in rows), [row for row in rows if "](../tests/" not in row]
