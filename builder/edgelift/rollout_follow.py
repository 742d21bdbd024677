"""A rollout's progress, shown until it has ended: `rollout watch` and `rollout start --wait`.

A server that goes away meanwhile is waited for, and looked for again: it may come back at another port.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

import typer

from edgelift.common import print_json
from edgelift.output import make_console, printable, printing, say
from edgelift.rollout_progress import RolloutProgress, countdown, counts, headline, served_so_far
from edgelift.watching import FOR_GOOD, connect_again
from edgelift_contract.errors import EdgeliftError, TransportError

if TYPE_CHECKING:
    from edgelift_fleet.client import Client
    from edgelift_fleet.messages import RolloutView

_ENDED = ("done", "rolled-back", "wave-rolled-back", "cancelled")
_POLL_S = 0.3
#: So long what a release has served is not asked anew, seconds: it costs the server more than the rollout itself.
_SO_FAR_S = 10.0


def get_view(client: Client, rollout: str, **query: str | int) -> RolloutView:
    """One rollout, as much of it as is asked for."""
    from urllib.parse import urlencode

    from edgelift_fleet.client import segment
    from edgelift_fleet.messages import RolloutView

    return client.get(f"/v1/rollouts/{segment(rollout)}?{urlencode(query)}", RolloutView)


def follow(connect: Callable[[], Client], rollout: str, *, as_json: bool, leave_paused: bool = False) -> None:
    """Show a rollout's progress until it has ended; ends the command with 1 if it did not end well.

    Args:
        connect: finds the server.
        rollout: its id.
        as_json: write the lines to standard error, and the rollout as JSON at the end.
        leave_paused: end also where it has paused by itself: whoever waits for it would wait for a person.

    Raises:
        EdgeliftError: what the first look raised, or later one that no waiting mends.
    """
    from rich.text import Text

    console = make_console(to_errors=as_json)
    progress, status = RolloutProgress(), console.status("") if console.is_terminal else None
    asked = _Steady(connect)
    by_itself = False
    if status:
        status.start()
    try:
        while True:
            found = asked.view(rollout, limit=0, events_after=max(0, progress.last))
            now = time.monotonic()
            lines = [asked.news] if found is None else progress.lines(found, now, asked.so_far(found, now))
            for line in filter(None, lines):
                with nullcontext() if as_json else printing():
                    console.print(printable(line), soft_wrap=True)
            if found is not None:
                by_itself = ([by_itself] + [not e.who for e in found.events if e.kind == "paused"])[-1]
                if found.state in _ENDED or (leave_paused and by_itself and found.state == "paused"):
                    break
                if status:
                    status.update(Text(printable(f"{counts(found)} · {found.reason}{countdown(found)}")))
            time.sleep(_POLL_S)
    finally:
        if status:
            status.stop()
    if as_json:
        print_json(asked.whole(rollout))
    else:
        say(headline(found))
    if found.state != "done":
        raise typer.Exit(1)


class _Steady:
    """Asks a server that may go away for a while.

    Attributes:
        news: what is to be said of that, once; empty when nothing is.
    """

    def __init__(self, connect: Callable[[], Client]) -> None:
        self._connect, self._client, self.news = connect, connect(), ""
        self._answered = self._away = False
        self._so_far, self._asked_at = "", -math.inf

    def so_far(self, found: RolloutView, now: float) -> str:
        """What the release has served since the hour in which the rollout began, asked anew now and then."""
        from urllib.parse import urlencode

        from edgelift_fleet.messages import LatencyReply

        if now - self._asked_at < _SO_FAR_S or found.state in _ENDED:
            return self._so_far
        self._asked_at = now
        model, _, version = found.release.partition("@")
        query = {
            "model": model,
            "version": version,
            "phase": "total",
            "from": found.created_at,
            "to": found.now + 60,
        }
        try:
            groups = self._client.get(f"/v1/latency?{urlencode(query)}", LatencyReply).groups
        except EdgeliftError:
            return self._so_far  # it is no more than a word beside the others
        self._so_far = served_so_far([group for group in groups if group.slot == found.slot])
        return self._so_far

    def view(self, rollout: str, **query: str | int) -> RolloutView | None:
        """The rollout; None while the server does not answer."""
        try:
            found = get_view(self._client, rollout, **query)
        except TransportError as error:
            if not self._answered or error.code in FOR_GOOD:
                raise
            self.news = "" if self._away else f"  It is waited for: {error.message}"
            self._away, self._client = True, connect_again(self._connect, self._client)
            return None
        self._answered, self._away = True, False
        return found

    def whole(self, rollout: str) -> RolloutView:
        """All of it, whenever the server answers."""
        while (found := self.view(rollout)) is None:
            time.sleep(_POLL_S)
        return found
