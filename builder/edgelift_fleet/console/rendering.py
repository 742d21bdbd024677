"""Pages as text: templates, and the headers that every page bears."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from starlette.responses import HTMLResponse, Response

from edgelift_fleet.console import words
from edgelift_fleet.console.statics import has_file

_TEMPLATES = Path(__file__).parent / "templates"
#: Nothing from elsewhere, nothing inline, in nobody's frame, no form that leads away (CSP Level 3).
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters.update(words.FILTERS)
    made.globals.update(words.GLOBALS, has_file=has_file)
    return made


def render(template: str, **said: Any) -> str:
    """A template with what it says."""
    return _environment().get_template(template).render(said)


def page(template: str, status: int = 200, **said: Any) -> Response:
    """A template as an answer."""
    return HTMLResponse(render(template, **said), status, dict(HEADERS))
