"""The one place where the command prints: lines, tables, errors, times.

Rule: text from outside (a path, a name, what a device or a server said) is shown as it is. It is never read as
rich's markup, in which `[x]` is an instruction, and control characters never reach the terminal, where a device's
message could otherwise move the cursor or change what was printed before. `tests/fleet/test_output.py` holds that
no other module of this package prints by itself.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from edgelift_contract.errors import DeviceError, disk_code
from edgelift_contract.text import clean

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

#: Of a table or a page where the output is no terminal: wide, so that nothing is cut.
WIDE = 200


def printable(text: str) -> str:
    """`text` with everything harmful, but for line breaks and tabs, replaced by `�`; see `edgelift_contract.text`."""
    return clean(text, keep="\n\t")


def escaped(data: bytes) -> bytes:
    """JSON in which whatever is harmful on a terminal is written as an escape: the same JSON, safe to look at."""
    if data.isascii() and b"\x7f" not in data:
        return data
    text = data.decode()
    return "".join(c if clean(c) == c else _escape(c) for c in text).encode()


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


@contextmanager
def printing(*, hint: str = "") -> Iterator[None]:
    """What can't be written to standard output inside is the disk's refusal and no fault of ours.

    Whoever has read enough, as `head` does, is not told: the command ends with exit code 1.

    Raises:
        DeviceError: `disk-full`, `read-only` or `disk-error`.
    """
    try:
        yield
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python's own end would fail at it once more
        if error.errno == errno.EPIPE:
            sys.exit(1)
        message = f"Standard output can't be written: {error.strerror}."
        raise DeviceError(disk_code(error.errno), message, hint=hint) from error


def say(text: str, *, to_errors: bool = False) -> None:
    """One line, at once; on standard error with `to_errors`. It is not cut and not read as markup."""
    with nullcontext() if to_errors else printing():
        print(printable(text), file=sys.stderr if to_errors else sys.stdout, flush=True)


def say_error(message: str, hint: str, code: str) -> None:
    """An error on standard error: one sentence, what to do, and the code."""
    from rich.text import Text

    sentence = printable(f"{message} {hint}".rstrip())
    line = Text.assemble(("error", "bold red"), " ", sentence, " ", (f"({printable(code)})", "dim"))
    make_console(to_errors=True).print(line, soft_wrap=True)


def make_console(*, to_errors: bool = False, width: int = WIDE) -> Console:
    """A rich console that reads no markup, emoji or numbers into text; `width` columns where it is no terminal."""
    from rich.console import Console

    console = Console(stderr=to_errors, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = width
    return console


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
    """A table on standard output, with nothing cut where that is no terminal; one with a title needs rows."""
    rows = list(rows)
    if title and not rows:
        return
    with printing():
        make_console().print(_table(columns, rows, title))


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title) if title else None, title_justify="left")
    for column in columns:
        table.add_column(Text(column))
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


class LiveTable:
    """A table on the terminal that is drawn again in its place. A context."""

    def __init__(self) -> None:
        from rich.live import Live

        self._live = Live(console=make_console(), auto_refresh=False, vertical_overflow="ellipsis")

    def __enter__(self) -> LiveTable:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def draw(self, head: str, columns: Sequence[str], rows: Sequence[Sequence[str]], foot: Sequence[str]) -> None:
        """A line, the table if it has rows, lines."""
        from rich.console import Group
        from rich.text import Text

        lines = [Text(printable(line)) for line in foot]
        table = [_table(columns, rows)] if rows else []
        with printing():
            self._live.update(Group(Text(printable(head)), *table, *lines), refresh=True)


def shortened(text: str, limit: int = 60) -> str:
    """The beginning of a text that may be very long, as a list of ids is."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def moment(at: float) -> str:
    """A time (seconds since 1970) as people read it, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))


def ago(at: float) -> str:
    """How long ago a time (seconds since 1970) was, in words; `never` for 0."""
    if at <= 0:
        return "never"
    passed_s = max(0.0, time.time() - at)
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if passed_s >= 2 * length_s:
            return f"{passed_s / length_s:.0f} {unit} ago"
    return f"{passed_s:.0f} s ago"


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar, where somebody watches: told what is being done, bytes done and bytes in all."""
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    console = make_console(to_errors=True)
    if quiet or not console.is_terminal:
        yield lambda _what, _done, _all: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, all_: bar.update(task, description=what, completed=done, total=all_)
