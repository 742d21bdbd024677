"""How the command prints tables and times."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
    """A table on standard output, with nothing cut where that is no terminal; one with a title needs rows."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left")
    for column in columns:
        table.add_column(column)
    rows = list(rows)
    if title and not rows:
        return
    for row in rows:
        # Names and messages come from devices: shown as they are, never read as markup.
        table.add_row(*(Text(cell) for cell in row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200
    console.print(table)


def ago(at: float) -> str:
    """How long ago a time (seconds since 1970) was, in words; `never` for 0."""
    if at <= 0:
        return "never"
    passed_s = max(0.0, time.time() - at)
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if passed_s >= 2 * length_s:
            return f"{passed_s / length_s:.0f} {unit} ago"
    return f"{passed_s:.0f} s ago"
