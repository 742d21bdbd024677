"""`report.html` as a person opens it, from disk in a real browser: nothing is cut off, on a phone as on a wide screen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edgelift_builder.report import page
from edgelift_builder.report.report import BuildReport
from tests.builder.report_cases import candidate, detector, long_names, rejected, report, twenty
from tests.console.chromium import find_chromium, needs_chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.builder, needs_chromium]

CASES = {
    "one": report(candidate(), candidate("float32", rank=1, pareto=False, size_bytes=1_260_000)),
    "none": report(rejected("int8-static"), rejected("int8-dynamic", "not-enough-data")),
    "twenty": twenty(),
    "detector": detector(),
    "long names": long_names(),
}

#: Texts that are wider than where they stand, and do so outside a region that scrolls.
CLIPPED = """() => [...document.querySelectorAll('h1, h2, h3, p, li, pre, th, td, dd, dt, figcaption, .state, strong')]
  .filter(e => !e.closest('.quiet') && !e.matches('.quiet, :has(.quiet)') && e.getClientRects().length)
  .filter(e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline')
  .map(e => e.tagName + ': ' + e.textContent.slice(0, 60))"""

#: Texts of a picture that reach beyond it.
OUTSIDE = """() => [...document.querySelectorAll('.picture svg')].flatMap(svg => {
  const whole = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter(t => {
    const at = t.getBoundingClientRect();
    return at.left < whole.left - 1 || at.right > whole.right + 1 || at.top < whole.top - 1 || at.bottom > whole.bottom + 1;
  }).map(t => t.textContent)})"""

#: Pairs of a picture's texts of which one covers the other, as drawn. Letters are lower than the boxes that hold them.
COVERED = """() => [...document.querySelectorAll('.picture svg')].flatMap(svg => {
  const texts = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
  return texts.flatMap(([one, a], i) => texts.slice(0, i)
    .filter(([, b]) => a.left < b.right - 1 && b.left < a.right - 1 && a.top + a.height / 4 < b.bottom - b.height / 4
      && b.top + b.height / 4 < a.bottom - a.height / 4).map(([other]) => one + ' and ' + other))})"""

#: Regions that scroll but can't be reached by keyboard, pictures and tables without a name.
UNNAMED = """() => [...document.querySelectorAll('*')].filter(e =>
  (e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX === 'auto' && e.tabIndex < 0)
  || (e.matches('svg:not([role=img])') && e.getAttribute('aria-hidden') !== 'true')
  || (e.matches('svg[role=img], [role=region]') && !e.getAttribute('aria-labelledby').split(' ')
      .every(id => document.getElementById(id)?.textContent.trim()))
  || (e.matches('table') && !(e.caption && e.querySelector('th[scope=col]') && e.querySelector('th[scope=row]'))))
  .map(e => e.outerHTML.slice(0, 90))"""

#: Names that two regions share: whoever hears them could not tell these apart.
TWICE = """() => [...document.querySelectorAll('[role=region], section[aria-labelledby]')]
  .map(e => document.getElementById(e.getAttribute('aria-labelledby')).textContent.trim())
  .filter((name, i, all) => all.indexOf(name) !== i)"""

#: Texts whose colour stands out from what is behind it by less than WCAG's 4.5 to 1.
FAINT = """() => {
  const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number).map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b };
  const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if (c !== 'rgba(0, 0, 0, 0)') return c } return 'rgb(255, 255, 255)' };
  return [...document.querySelectorAll('body *')]
    .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
    .filter(e => !e.matches('title, desc'))
    .filter(e => { const style = getComputedStyle(e);
      const a = light(e.closest('svg') ? style.fill : style.color), b = light(behind(e));
      return (Math.max(a, b) + .05) / (Math.min(a, b) + .05) < 4.5 }).map(e => e.outerHTML.slice(0, 90))}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for the whole file."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        yield found
        found.close()


def opened(browser: Browser, made: BuildReport, folder: Path, **how: Any) -> Page:
    """The report's page as it lies on a disk; with scripts switched off, all that it is must be there."""
    path = folder / "report.html"
    path.write_text(page.render(made), encoding="utf-8")
    context = browser.new_context(**how)
    context.set_offline(True)
    shown = context.new_page()
    asked: list[str] = []
    shown.on("request", lambda request: asked.append(request.url))
    shown.goto(path.as_uri())
    assert asked == [path.as_uri()]
    return shown


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_cut_off_or_covered(browser: Browser, name: str, tmp_path: Path) -> None:
    shown = opened(browser, CASES[name], tmp_path)
    for width in (360, 800, 1600):
        shown.set_viewport_size({"width": width, "height": 900})
        assert shown.evaluate("document.documentElement.scrollWidth") == width
        for wrong in (CLIPPED, OUTSIDE, COVERED, UNNAMED):
            assert shown.evaluate(wrong) == [], width
    shown.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    shown.set_viewport_size({"width": 360, "height": 900})
    assert shown.evaluate("document.documentElement.scrollWidth") == 360
    assert shown.evaluate(CLIPPED) == shown.evaluate(UNNAMED) == shown.evaluate(TWICE) == []
    shown.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_stands_out_in_light_and_dark(browser: Browser, scheme: str, tmp_path: Path) -> None:
    shown = opened(browser, twenty(), tmp_path, color_scheme=scheme)
    assert shown.evaluate(FAINT) == []
    dark = shown.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every(v => v < 60)")
    assert dark == (scheme == "dark")
    shown.context.close()


def test_it_is_read_by_keyboard_with_scripts_off(browser: Browser, tmp_path: Path) -> None:
    shown = opened(browser, twenty(), tmp_path, java_script_enabled=False, viewport={"width": 360, "height": 800})
    shown.keyboard.press("Tab")
    shown.keyboard.press("Enter")
    shown.keyboard.press("Tab")
    region = shown.get_by_role("region", name="Candidates for x86-64-vnni")
    assert shown.url.endswith("#t1") and region.is_visible()
    assert shown.get_by_role("img", name="Size and accuracy").count() == 1
    assert shown.get_by_role("heading", name="Verdict").is_visible()
    assert region.get_by_role("rowheader").count() == 20
    shown.context.close()
