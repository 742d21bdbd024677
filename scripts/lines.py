"""Prints lines per module and package, and names what has grown past one idea."""

import ast
import statistics
from pathlib import Path

LONG_FILE, LONG_FUNCTION = 400, 60
ROOTS = ("agent", "builder")


def function_lengths(path: Path) -> list[tuple[int, str]]:
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [((n.end_lineno or 0) - n.lineno + 1, n.name) for n in ast.walk(tree) if isinstance(n, kinds)]


def main() -> None:
    packages: dict[str, list[int]] = {}
    functions: list[int] = []
    remarks: list[str] = []
    for root in ROOTS:
        for path in sorted(Path(root).rglob("*.py")):
            lines = len(path.read_text().splitlines())
            packages.setdefault("/".join(path.parts[:2]), []).append(lines)
            if lines > LONG_FILE:
                remarks.append(f"{path}: {lines} lines: does it still hold one idea?")
            for length, name in function_lengths(path):
                functions.append(length)
                if length > LONG_FUNCTION:
                    remarks.append(f"{path}: {name} has {length} lines")
    for package, counts in packages.items():
        middle = statistics.median(counts)
        print(f"{package:28} {len(counts):3} files {sum(counts):6} lines  median {middle:4.0f}  max {max(counts)}")
    functions.sort()
    middle, p90 = statistics.median(functions), functions[int(len(functions) * 0.9)]
    print(f"functions: {len(functions)}, median {middle:.0f} lines, p90 {p90}")
    print("\n".join(remarks))


if __name__ == "__main__":
    main()
