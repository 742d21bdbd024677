"""Numbers, times and states as people read them: the words that all templates share. Pure."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from markupsafe import Markup

from edgelift_fleet.alerts.kinds import TROUBLES

_STEPS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


class Sign(NamedTuple):
    """A state as it is shown: `tone` is `good`, `warn`, `bad` or `quiet`, `icon` a character, `word` what it is called."""

    tone: str
    icon: str
    word: str


_TONES = {
    "good": ("●", "online serving committed done valid connected open allowed completed whole up"),
    "busy": ("◐", "updating running rolling-back scheduled draining staged probation waiting restoring notice"),
    "warn": ("▲", "paused held silent superseded expired warning unmeasured"),
    "bad": (
        "✕",
        "failed rolled-back wave-rolled-back refused disconnected breach fault revoked removed down critical",
    ),
    "quiet": (
        "○",
        "offline empty cancelled left unsuited let-go restored spent replaced none never retired disabled silenced",
    ),
}
_BY_WORD = {
    **{
        code: Sign(kind.tone, _TONES[kind.tone][0], code)
        for code, kind in TROUBLES.items()
        if kind.about == "device"
    },
    **{word: Sign(tone, icon, word) for tone, (icon, words) in _TONES.items() for word in words.split()},
}


def sign(word: str) -> Sign:
    """How a state is shown: never by a colour alone."""
    return _BY_WORD.get(word, Sign("quiet", "○", word))


def state(word: str, text: str = "") -> Markup:
    """A state as HTML: its icon, which no screen reader reads out, and its word."""
    tone, icon, _ = sign(word)
    return Markup('<span class="state {}"><span aria-hidden="true">{}</span> {}</span>').format(
        tone, icon, text or word
    )


def ago(at: float, now: float | None = None) -> str:
    """How long ago something was, in its largest whole unit: `3 min ago`; `never` for 0."""
    if not at:
        return "never"
    passed = (time.time() if now is None else now) - at
    return f"{span(passed)} ago" if passed >= 1 else "now" if passed > -1 else f"in {span(-passed)}"


def span(seconds: float) -> str:
    """A length of time in its largest whole unit."""
    for length, unit in _STEPS:
        if seconds >= length:
            return f"{int(seconds / length)} {unit}"
    return "0 s"


def when(at: float) -> Markup:
    """A moment as HTML: how long ago, and to the second for who wants that."""
    if not at:
        return Markup('<span class="muted">never</span>')
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    return Markup('<time datetime="{}" title="{}">{}</time>').format(moment, clock(at), ago(at))


def clock(at: float) -> str:
    """A moment in UTC, as `2026-11-28 05:30:00 UTC`; a dash for 0."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at)) if at else "–"


def latency(us: float | None) -> str:
    """Microseconds as people read them, three digits: `840 µs`, `1.2 ms`, `3.1 s`; a dash for none."""
    if us is None or not math.isfinite(us) or us <= 0:
        return "–"
    for unit, length in (("s", 1e6), ("ms", 1e3)):
        if us >= length * 0.9995:
            return f"{us / length:.3g} {unit}"
    return f"{us:.3g} µs"


def size(number: float) -> str:
    """Bytes, in powers of ten as disks and links count them: `13.6 MB`."""
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= length * 0.9995:
            return f"{number / length:.3g} {unit}"
    return f"{number:.0f} B"


def count(number: float) -> str:
    """With a comma at the thousands."""
    return f"{number:,.0f}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share with its sign: `+1.2 %`, with a true minus; a dash for none."""
    if share is None or not math.isfinite(share):
        return "–"
    text = f"{abs(share) * 100:.{digits}f} %"
    return text if not float(f"{share * 100:.{digits}f}") else ("+" if share > 0 else "−") + text


def accuracy(value: float | None, unit: str = "") -> str:
    """A share as per cent, anything else as it is, to three digits or four; a dash for none."""
    if value is None:
        return "–"
    return f"{value * 100:.4g} %" if not unit else f"{value:.4g}"


def many(number: int, one: str, more: str = "") -> str:
    """`1 device`, `5,000 devices`."""
    return f"{count(number)} {one if number == 1 else more or one + 's'}"


def query(given: Mapping[str, Any], **changed: Any) -> str:
    """An address's query with some of its words changed; those that are empty are left out."""
    pairs = given.multi_items() if hasattr(given, "multi_items") else list(given.items())
    kept = [(name, value) for name, value in pairs if name not in changed and value and name != "partial"]
    found = urlencode([*kept, *((name, value) for name, value in changed.items() if value)])
    return f"?{found}" if found else "?"


_OPERATIONS = {
    "start": "start a rollout", "command": "order about a rollout", "assign": "assign a release",
    "assign_all": "assign a release",
    "tags": "change tags", "sample": "sample a device", "mend": "mend a device", "replace": "replace a device",
    "remove": "remove a device", "publish": "publish a release", "login": "log in", "logout": "log out",
}  # fmt: skip


def operation(name: str) -> str:
    """What an operation of the API is called in the log that people read."""
    return _OPERATIONS.get(name, name.replace("_", " "))


FILTERS: dict[str, Callable[..., Any]] = {
    "ago": ago, "span": span, "when": when, "clock": clock, "latency": latency, "size": size, "count": count,
    "percent": percent, "state": state, "operation": operation,
}  # fmt: skip
GLOBALS: dict[str, Callable[..., Any]] = {"many": many, "query": query, "state": state, "accuracy": accuracy}
