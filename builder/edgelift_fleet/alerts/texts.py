"""A message as a title and a text for people. Pure."""

from __future__ import annotations

from edgelift_contract.text import clean
from edgelift_fleet.alerts.words import moment
from edgelift_fleet.messages.alerts import AlertMessage

_BEGINS = {"grew": "more: ", "lasts": "still: ", "ended": "over: ", "test": "test: "}
_MAX_TITLE = 180


def title_of(message: AlertMessage) -> str:
    """One line: `[farm] still: 5,000 boards are offline.`"""
    title = clean(f"[{message.site}] {_BEGINS.get(message.event, '')}{message.what}")
    return title if len(title) <= _MAX_TITLE else f"{title[: _MAX_TITLE - 1]}…"


def body_of(message: AlertMessage) -> str:
    """What, where, since when, what to do, a line each."""
    lines = [message.what]
    if message.where:
        lines.append(f"Where: {message.where}")
    lines.append(f"Since: {moment(message.since)}")
    if message.todo:
        lines.append(f"What to do: {message.todo}")
    if len(message.details) > 1:
        lines += ["", *message.details]
        if message.count > len(message.details):
            lines.append(f"… and {message.count - len(message.details):,} more")
    lines += ["", f"{message.severity}: {message.code}, site {message.site}"]
    if message.event not in ("ended", "test"):
        lines.append(f"To hear no more of it for a while: edgelift alert silence {message.code} --for 2h")
    if message.link:
        lines.append(message.link)
    return "\n".join(clean(line) for line in lines)
