"""Somebody with a real browser: Debian's Chromium, at a desk or on a phone, with scripts or without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.console.chromium import find_chromium
from tests.waiting import LONG_S

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[2]
#: Where set-up puts it; see scripts/console-scripts.
AXE = ROOT / ".venv" / "console-scripts" / "node_modules" / "axe-core" / "axe.min.js"
DESK: Any = {"width": 1280, "height": 800}
PHONE: Any = {"width": 390, "height": 844}
#: The narrowest phone that people have, CSS pixels.
NARROW: Any = {"width": 360, "height": 740}
#: One of WCAG 2.2 that axe leaves out unless it is asked for: whether a finger hits what it is meant for.
_ALL_RULES = {"rules": {"target-size": {"enabled": True}}}
NAME, PASSWORD = "ada", "a long one, and easy to remember"


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser, as long as the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        try:
            yield made
        finally:
            made.close()


@contextmanager
def sitting(
    made: Browser, url: str, *, phone: bool = False, scripts: bool = True, scheme: Any = "light"
) -> Iterator[Page]:
    """A page of somebody who has not logged in; what its scripts complain of fails the test."""
    context = made.new_context(
        base_url=url, viewport=PHONE if phone else DESK, java_script_enabled=scripts, color_scheme=scheme,
        ignore_https_errors=True, has_touch=phone, is_mobile=phone,
    )  # fmt: skip
    context.set_default_timeout(LONG_S * 1000)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console", lambda said: complaints.append(said.text) if "Content Security Policy" in said.text else None
    )
    try:
        yield page
        assert not complaints, complaints
    finally:
        context.close()


def log_in(page: Page) -> None:
    """As a person does."""
    page.goto("/")
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("button", name="Log out").wait_for()


def wide(page: Page) -> int:
    """By how many pixels a page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def violations(page: Page, rule: str = "") -> list[str]:
    """What axe-core finds, by all of its rules or one alone: rule and place."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())  # not as a script of the page: its policy takes none of elsewhere
    options = {"resultTypes": ["violations"], **({"runOnly": [rule]} if rule else _ALL_RULES)}
    found = page.evaluate("options => axe.run(document, options)", options)
    return [f"{one['id']}: {node['html'][:200]}" for one in found["violations"] for node in one["nodes"]]
