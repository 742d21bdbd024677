"""What every benchmark prints: a table, and the same as JSON."""

import argparse
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgelift_contract.hardware import this_machine


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    return parser


def show(title: str, rows: Sequence[Sequence[object]], columns: Sequence[str]) -> None:
    from rich.console import Console  # late: the device's tests use the harness without the host's packages
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row))
    Console(width=160, soft_wrap=True).print(table)


def write(path: Path | None, figures: Mapping[str, object]) -> None:
    if path is None:
        return
    machine = {"hardware_class": this_machine(), "python": platform.python_version(), "system": platform.system()}
    path.write_text(json.dumps({**figures, "machine": machine}, indent=2) + "\n")
