"""Nothing but `system/disk.py` writes: a fault of the disk reaches all that the agent does to it."""

import ast
import re
from pathlib import Path

import edgelift_agent

PACKAGE = Path(edgelift_agent.__file__).parent
#: Calls that make, change or remove something on a disk, as methods of a path, of `os`, `shutil` or `tempfile`.
WRITING = {
    "mkdir", "unlink", "rmdir", "touch", "rename", "write_text", "write_bytes", "symlink_to", "hardlink_to",
    "makedirs", "os.remove", "rmtree", "copyfile", "copytree", "move", "mkdtemp", "mkstemp", "flock", "fsync",
}  # fmt: skip
#: What may look like one of them: the disk's own methods, and what is no file's.
ALLOWED = re.compile(r"(self\.)?(_?store\.)?_?disk\.\w+$|self\._store\.disk\.\w+$|self\._faults\.\w+$")


def _writes(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        last = name.rpartition(".")[2]
        modes = [
            arg.value for arg in [*node.args, *(k.value for k in node.keywords)] if isinstance(arg, ast.Constant)
        ]
        opens = last == "open" and any(
            isinstance(mode, str) and re.fullmatch(r"[rwabxt+]*[wax+][bt+]*", mode) for mode in modes
        )
        if (last in WRITING or name in WRITING or opens) and not ALLOWED.match(name):
            found.append(name)
    return found


#: Beside the one place: what is written in memory, for one look, and what a tool of developers' writes.
ELSEWHERE = {"system/disk.py", "trust/trusted.py", "tufclient.py"}


def test_nothing_else_in_the_agent_writes_to_a_disk() -> None:
    outside = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if name not in ELSEWHERE and not name.startswith("testing/"):
            outside[name] = _writes(ast.parse(path.read_text()))
    assert {name: calls for name, calls in outside.items() if calls} == {}


def test_the_search_finds_what_writes() -> None:
    source = (
        "path.mkdir()\nopen('x', 'w')\npath.open('ab')\npath.open('rb')\nself._disk.open(p, 'wb')\nos.remove(p)"
    )
    assert _writes(ast.parse(source)) == ["path.mkdir", "open", "path.open", "os.remove"]
