"""`--watch`: a list again and again, until Ctrl-C; a server that goes away for a while is waited for.

On a terminal the table stands and changes. Elsewhere a line is written when something changed: the counts, or with
`--json` what changed, the first time all of it.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgelift.common import print_json
from edgelift.listing import ListView, Look
from edgelift.output import LiveTable, make_console, say
from edgelift_contract.errors import EdgeliftError, TransportError

if TYPE_CHECKING:
    from edgelift_fleet.client import Client

#: For an answer that is watched for: a server that hangs is told of soon, seconds.
WATCH_TIMEOUT_S = 10.0
#: Refusals that no waiting mends.
FOR_GOOD = ("not-authorised", "tls-failed")
#: Nobody is asked more often than this, seconds.
_LEAST_S = 0.1
#: Lines on a terminal beside the rows: the counts, the table's frame and head, what stands below, the prompt.
_FRAME_LINES = 9


def watch(look: Look, connect: Callable[[], Client], most: int | None, every_s: float, *, as_json: bool) -> None:
    """Show the list until Ctrl-C.

    Args:
        look: asks for it.
        connect: finds the server, also after it came back at another address.
        most: rows at most; on a terminal no more than it has lines for.
        every_s: between two looks.
        as_json: write JSON lines.

    Raises:
        EdgeliftError: what the first look raised, or later one that no waiting mends.
    """
    console = make_console()
    shown: _Json | _Lines | _Table
    if as_json:
        shown = _Json()
    elif console.is_terminal:
        shown = _Table()
    else:
        shown = _Lines()
    with _interruptible(), shown as screen:
        client, away_since = connect(), 0.0
        first = True
        while True:
            lines = max(3, console.height - _FRAME_LINES) if isinstance(shown, _Table) else None
            try:
                rows = most if lines is None else min(most or lines, lines)
                screen.view(look(client, rows))
                first, away_since = False, 0.0
            except TransportError as error:
                if first or error.code in FOR_GOOD:
                    raise
                away_since = away_since or time.time()
                screen.away(error, away_since)
                client = connect_again(connect, client)
            time.sleep(max(_LEAST_S, every_s))


def connect_again(connect: Callable[[], Client], client: Client) -> Client:
    """A server that was started again may have another port: look where it is now."""
    try:
        return connect()
    except EdgeliftError:
        return client  # none runs yet


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the block as its own end would; a live table gives the terminal back first."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


class _Json:
    """What changed since the last line, as one of JSON: `at`, `counts`, the items new or other, the ids `gone`."""

    def __init__(self) -> None:
        self._counts: Any = None
        self._items: dict[str, Any] | None = None
        self._away = False

    def __enter__(self) -> _Json:
        return self

    def __exit__(self, *_: object) -> None: ...

    def view(self, view: ListView) -> None:
        """One look."""
        import msgspec

        plain = {name: msgspec.to_builtins(item) for name, item in view.items.items()}
        told = {name: _loud(item, view) for name, item in plain.items()}
        before = self._items or {}
        changed = [plain[name] for name, item in told.items() if before.get(name) != item]
        gone = [name for name in before if name not in told]
        if self._items is None or changed or gone or view.counts != self._counts or self._away:
            print_json({"at": time.time(), "counts": view.counts, view.noun: changed, "gone": gone})
        self._items, self._counts, self._away = told, view.counts, False

    def away(self, error: TransportError, since: float) -> None:
        """The server does not answer: said once."""
        if not self._away:
            print_json({"at": time.time(), "error": error.message, "code": error.code, "since": since})
        self._away = True


def _loud(item: dict[str, Any], view: ListView) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in view.quiet}


class _Lines:
    """The counts whenever they changed."""

    def __init__(self) -> None:
        self._last = ""

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None: ...

    def view(self, view: ListView) -> None:
        """One look."""
        self._say(view.head)

    def away(self, error: TransportError, _since: float) -> None:
        """The server does not answer."""
        self._say(error.message)

    def _say(self, line: str) -> None:
        if line != self._last:
            say(f"{time.strftime('%H:%M:%S')} {line}")
        self._last = line


class _Table:
    """The table, which stands and changes."""

    def __init__(self) -> None:
        self._live = LiveTable()
        self._last: ListView | None = None

    def __enter__(self) -> _Table:
        self._live.__enter__()
        return self

    def __exit__(self, *reason: Any) -> None:
        self._live.__exit__(*reason)

    def view(self, view: ListView) -> None:
        """One look."""
        self._last = view
        self._draw(view, "Ctrl-C ends")

    def away(self, error: TransportError, since: float) -> None:
        """The server does not answer: what was seen last stays."""
        if self._last is not None:
            self._draw(
                self._last, f"No answer for {time.time() - since:.0f} s, this is how it stood: {error.message}"
            )

    def _draw(self, view: ListView, state: str) -> None:
        self._live.draw(
            view.head, view.columns, view.rows, [*view.foot(), f"{time.strftime('%H:%M:%S')} · {state}"]
        )
