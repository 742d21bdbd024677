"""Writes what docs/architecture.md shows of the code: the layers, the transitions, every module. `--fix` puts it in.

The pictures come from pyproject.toml's import contracts and from `update/machine.py`, the list of modules from the
first sentence of each one's docstring, so that none of them can say what the code doesn't. Between a line
`<!-- made: NAME -->` and `<!-- end -->` the page belongs to this script; the rest is written by hand.
"""

import ast
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import tomli

from edgelift_agent.update.machine import RESUME, RESUME_CLEAN, TRANSITIONS, State

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = {
    "edgelift_contract": "agent",
    "edgelift_agent": "agent",
    "edgelift_builder": "builder",
    "edgelift_fleet": "builder",
    "edgelift": "builder",
}


def modules(package: str) -> dict[str, Path]:
    """Every module of a package but the `__init__`s: path below the package → file."""
    folder = ROOT / PACKAGES[package] / package
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*.py")}
    return {name: found[name] for name in sorted(found) if not name.endswith("__init__.py")}


def layers() -> str:
    """A mermaid picture: each package's layers, importing downwards only, and the packages that import another."""
    config = tomli.loads((ROOT / "pyproject.toml").read_text())
    contracts = config["tool"]["importlinter"]["contracts"]
    by_package = {c["containers"][0]: c["layers"] for c in contracts if c["type"] == "layers"}
    lines = ["```mermaid", "flowchart TB"]
    for package in PACKAGES:
        lines.append(f"  subgraph {package}_rooms [{package}]")
        rooms = by_package.get(package, ["standard library and msgspec only"])
        names = [f"{package}_{number}" for number in range(len(rooms))]
        lines += [f'    {name}["{room.replace(" | ", " · ")}"]' for name, room in zip(names, rooms, strict=True)]
        if len(names) > 1:
            lines.append("    " + " --> ".join(names))
        lines.append("  end")
    lines += [
        "  edgelift_rooms --> edgelift_builder_rooms",
        "  edgelift_rooms --> edgelift_fleet_rooms",
        *(f"  edgelift_{p}_rooms --> edgelift_contract_rooms" for p in ("builder", "fleet", "agent")),
    ]
    return "\n".join([*lines, "```"])


def transitions() -> str:
    """A mermaid picture of `TRANSITIONS`, and where each state goes on after a crash or a clean stop."""
    ways: dict[tuple[State, State], list[str]] = {}
    for (state, event), following in TRANSITIONS.items():
        ways.setdefault((state, following), []).append(event.value)
    lines = ["```mermaid", "stateDiagram-v2", f"  [*] --> {State.IDLE.name}"]
    lines += [f"  {a.name} --> {b.name}: {', '.join(events)}" for (a, b), events in ways.items()]
    lines += [
        "```",
        "",
        "| the journal says | after a crash or a power cut | after a clean stop |",
        "|---|---|---|",
    ]
    lines += [f"| {s.name} | {_entry(RESUME, s)} | {_entry(RESUME_CLEAN, s)} |" for s in State]
    return "\n".join(lines)


def _entry(table: Mapping[State, State], state: State) -> str:
    return "goes on" if table[state] is state else f"goes on at {table[state].name}"


def index(package: str) -> str:
    """A table: every module of a package, and the first sentence of its docstring."""
    lines = ["| module | what it is |", "|---|---|"]
    for name, path in modules(package).items():
        text = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0]
        lines.append(f"| `{name}` | {' '.join(text.split()).replace('|', '/')} |")
    return "\n".join(lines)


PARTS: dict[str, Callable[[], str]] = {
    "layers": layers,
    "transitions": transitions,
    **{package: lambda package=package: index(package) for package in PACKAGES},
}


def parts_of(text: str) -> dict[str, str]:
    """What a page holds between its marks, by name."""
    return dict(re.findall(r"<!-- made: (\w+) -->\n(.*?)\n<!-- end -->", text, re.DOTALL))


def made_anew(text: str) -> str:
    """The page with every part between marks made anew."""

    def part(found: re.Match[str]) -> str:
        return f"<!-- made: {found[1]} -->\n{PARTS[found[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- made: (\w+) -->\n.*?<!-- end -->", part, text, flags=re.DOTALL)


def main() -> int:
    """Say whether the page is as it should be, or make it so."""
    text = PAGE.read_text()
    made = made_anew(text)
    if "--fix" in sys.argv:
        PAGE.write_text(made)
    elif made != text:
        print("docs/architecture.md is behind the code: scripts/check --fix makes its pictures and lists anew")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
