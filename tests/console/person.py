"""Somebody at a console's page: with a mouse, a finger, or by the keyboard alone; with scripts, or reloading by hand."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.waiting import until

if TYPE_CHECKING:
    from playwright.sync_api import ElementHandle, Locator, Page

#: Where the focus is: what is reached, whether it is seen there, and whether it comes after where it was before.
_STOP = """(wanted) => {
    const here = document.activeElement, before = window.stopBefore;
    if (here === document.body || here === null) { window.stopBefore = null; return "nowhere"; }
    window.stopBefore = here;
    const style = getComputedStyle(here), box = here.getBoundingClientRect(), told = here.outerHTML.slice(0, 120);
    const ringed = here.matches(":focus-visible") && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    const within = box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0
        && box.left < innerWidth;
    if (!ringed || !within) return `not to be seen: ${told}`;
    if (before?.isConnected && before.compareDocumentPosition(here) & Node.DOCUMENT_POSITION_PRECEDING)
        return `out of order: ${told}`;
    return here === wanted ? "reached" : "on the way";
}"""
#: No page has more places where the focus stops.
_STOPS = 300


class Person:
    """Somebody who reads a page and presses what it names.

    Attributes:
        page: that they look at.
        scripts: do pages refresh by themselves? Else they reload by hand.
    """

    def __init__(self, page: Page, *, scripts: bool = True) -> None:
        self.page, self.scripts = page, scripts

    def see(self, text: str | re.Pattern[str]) -> None:
        """Wait until the page says so."""
        self.await_(self.page.get_by_text(text).locator("visible=true").first)

    def await_(self, what: Locator) -> None:
        """Wait until it is there; without scripts by reloading the page."""
        if self.scripts:
            what.wait_for()
            return
        until(lambda: what.is_visible() or self._again(what), f"{what} on the page")

    def _again(self, what: Locator) -> bool:
        self.page.reload()
        return what.is_visible()

    def follow(self, name: str) -> None:
        """Follow a link, to another page."""
        self._leave(self.page.get_by_role("link", name=name).first)

    def press(self, name: str) -> None:
        """Press a button that sends a form, to another page."""
        self._leave(self.page.get_by_role("button", name=name, exact=True).locator("visible=true").first)

    def open(self, name: str) -> None:
        """Open what is folded away."""
        self.act(self.page.locator("summary", has_text=name).first)

    def fill(self, label: str, text: str) -> None:
        """Write into a field in place of what stands there."""
        self.write(self.page.get_by_label(label, exact=False).locator("visible=true").first, text)

    def begin(self, label: str, text: str) -> None:
        """Write into the field at which a page begins."""
        self.fill(label, text)

    def skip(self) -> None:
        """Leave out what all pages begin with."""

    def is_at(self, what: Locator) -> None:
        """A page that has come shows them this first."""
        assert what.evaluate("one => one.getBoundingClientRect().top < innerHeight / 2"), what

    def look_up(self) -> None:
        """Leave the field that they write into, for as long as the page takes to refresh itself twice."""
        self.leave_field()
        for _ in range(2 if self.scripts else 0):
            with self.page.expect_response(lambda one: "partial=1" in one.url and one.ok):
                pass

    def leave_field(self) -> None:
        """Go on from a field."""
        self.act(self.page.get_by_role("heading", level=1))

    def _leave(self, what: Locator) -> None:
        with self.page.expect_navigation():
            self.act(what)

    def act(self, what: Locator) -> None:
        """Press it."""
        what.click()

    def write(self, field: Locator, text: str) -> None:
        """Write there."""
        field.fill(text)


class Finger(Person):
    """On a touch screen: nothing hovers, and what another thing covers can't be touched."""

    def act(self, what: Locator) -> None:
        what.tap()

    def write(self, field: Locator, text: str) -> None:
        field.tap()
        field.fill(text)


class Keyboard(Person):
    """Without a mouse: what they want is reached by Tab, in the page's order, and each stop on the way is seen."""

    def act(self, what: Locator) -> None:
        self.reach(what)
        self.page.keyboard.press("Enter")

    def write(self, field: Locator, text: str) -> None:
        self.reach(field)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)

    def reach(self, what: Locator) -> None:
        """Go there."""
        what.wait_for()
        wanted: ElementHandle | None = what.element_handle()
        if what.evaluate("one => one === document.activeElement"):
            return
        told = ""
        for _ in range(_STOPS):
            self.page.keyboard.press("Tab")
            told = self.page.evaluate(_STOP, wanted)
            if told == "reached":
                return
            assert told in ("nowhere", "on the way"), told
        raise AssertionError(f"{what} is not reached by Tab: {told}")

    def begin(self, label: str, text: str) -> None:
        self.page.locator("input:focus").wait_for()
        assert self.page.get_by_label(label).evaluate("one => one === document.activeElement")
        self.page.keyboard.type(text)

    def leave_field(self) -> None:
        self.page.keyboard.press("Tab")

    def is_at(self, what: Locator) -> None:
        super().is_at(what)
        self.page.keyboard.press("Tab")
        after = "one => one.compareDocumentPosition(document.activeElement) & Node.DOCUMENT_POSITION_FOLLOWING"
        assert what.evaluate(after), what

    def skip(self) -> None:
        self.page.keyboard.press("Tab")
        assert self.page.evaluate("document.activeElement.textContent") == "To the content"
        self.page.keyboard.press("Enter")
        assert self.page.evaluate("document.activeElement.id") == "content"
