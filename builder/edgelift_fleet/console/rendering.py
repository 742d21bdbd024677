"""Pages as text: templates, the words that they share, and the headers that every page bears."""

from __future__ import annotations

import math
import time
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from starlette.responses import HTMLResponse, Response

_TEMPLATES = Path(__file__).parent / "templates"
#: Nothing from elsewhere, nothing inline, in nobody's frame, no form that leads away (CSP Level 3).
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_STEPS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters.update(ago=ago, latency=latency, count=count, clock=clock)
    return made


def page(template: str, status: int = 200, **words: Any) -> Response:
    """A template as an answer."""
    text = _environment().get_template(template).render(words)
    return HTMLResponse(text, status, dict(HEADERS))


def ago(at: float, now: float | None = None) -> str:
    """How long ago something was, in its largest whole unit: `3 min`; `never` for 0."""
    if not at:
        return "never"
    passed = max(0.0, (time.time() if now is None else now) - at)
    for length, unit in _STEPS:
        if passed >= length:
            return f"{int(passed / length)} {unit}"
    return "now"


def latency(us: float | None) -> str:
    """Microseconds as people read them, three digits: `840 µs`, `1.20 ms`, `3.10 s`; a dash for none."""
    if us is None or not math.isfinite(us) or us <= 0:
        return "–"
    for unit, length in (("s", 1e6), ("ms", 1e3)):
        if us >= length:
            return f"{us / length:.3g} {unit}"
    return f"{us:.3g} µs"


def count(number: float) -> str:
    """With a comma at the thousands."""
    return f"{number:,.0f}"


def clock(at: float) -> str:
    """A moment in UTC, as `2026-11-28 05:30:00 UTC`; a dash for 0."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at)) if at else "–"
