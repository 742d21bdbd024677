"""The console as a person uses it, in a real browser: at a desk, on a phone, by keyboard alone, without scripts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgelift_contract.telemetry import Gauges
from edgelift_fleet.client import Client
from edgelift_fleet.messages.people import PersonRequest, PersonView
from edgelift_fleet.site import load_site
from edgelift_fleet.testing import FleetSimulator, simulated_fleet
from tests.console.browser import AXE, NAME, PASSWORD, browser, log_in, sitting, violations, wide
from tests.console.chromium import needs_chromium
from tests.fleet.conftest import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = needs_chromium
PAGES = ("/", "/?trouble=hot", "/?to=nobody", "/audit", "/people", "/system", "/none/such")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as made:
        yield made


@pytest.fixture
def serving(site: Path) -> Iterator[Server]:
    with Server(site, "--broker", "none") as server:
        Client.of_site(load_site(site)).post("/v1/people", PersonRequest(NAME, "admin", PASSWORD), PersonView)
        yield server


@pytest.fixture
def boards(serving: Server) -> Iterator[FleetSimulator]:
    with simulated_fleet(serving.site) as simulator:
        yield simulator


def heat(boards: FleetSimulator, name: str) -> None:
    """Have a board say that it is hot."""
    now = time.time()
    boards.devices[name].deliver(Gauges(start=now - 60, end=now, values={"soc_temp_c": 86.5, "throttled": 1}))


def test_the_first_board_appears_by_itself(chromium: Browser, serving: Server, boards: FleetSimulator) -> None:
    with sitting(chromium, serving.url) as page:
        log_in(page)
        page.get_by_text("edgelift token create").wait_for()
        boards.add("pi-1")
        page.get_by_role("rowheader", name="pi-1").wait_for()  # without a reload
        assert page.get_by_text("edgelift token create").count() == 0


@pytest.mark.parametrize("way", ["desk", "phone", "no scripts"])
def test_the_hot_board_is_found_from_the_front_page(
    chromium: Browser, serving: Server, boards: FleetSimulator, way: str
) -> None:
    boards.add("pi-1", "pi-2", "pi-3")
    heat(boards, "pi-2")
    with sitting(chromium, serving.url, phone=way == "phone", scripts=way != "no scripts") as page:
        log_in(page)
        find_the_hot_one(page)


def find_the_hot_one(page: Page) -> None:
    page.get_by_role("link", name="1 device is at 80 °C or more").click()
    page.get_by_role("heading", name="1 device of 3").wait_for()
    assert page.get_by_role("rowheader").all_inner_texts() == ["pi-2"]


def test_by_keyboard_alone(chromium: Browser, serving: Server, boards: FleetSimulator) -> None:
    boards.add("pi-1", "pi-2")
    heat(boards, "pi-2")
    with sitting(chromium, serving.url) as page:
        page.goto("/")
        page.keyboard.type(NAME)  # the field is where one begins
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Log out").wait_for()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "To the content"
        page.keyboard.press("Enter")
        for _ in range(60):
            page.keyboard.press("Tab")
            if "80 °C" in page.evaluate("document.activeElement.textContent"):
                break
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="1 device of 2").wait_for()


def test_a_server_that_is_away_is_told_and_comes_back(
    chromium: Browser, serving: Server, boards: FleetSimulator
) -> None:
    boards.add("pi-1")
    port = serving.url.rpartition(":")[2]
    with sitting(chromium, serving.url) as page:
        log_in(page)
        boards.stop()
        serving.stop()
        page.get_by_text("The server can’t be reached").wait_for()
        assert page.get_by_role("rowheader", name="pi-1").is_visible()  # what was seen stays
        serving.options = ("--broker", "none", "--port", port)
        serving.start()
        page.get_by_text("The server can’t be reached").wait_for(state="hidden")


def test_a_session_that_ended_is_told(chromium: Browser, serving: Server) -> None:
    with sitting(chromium, serving.url) as page:
        log_in(page)
        Client.of_site(load_site(serving.site)).post(f"/v1/people/{NAME}/disable", {}, PersonView)
        page.get_by_text("Your session has ended").wait_for()


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm was missing at set-up")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_for_everybody(
    chromium: Browser, serving: Server, boards: FleetSimulator, scheme: str
) -> None:
    boards.add("pi-1", "pi-2")
    heat(boards, "pi-2")
    found: dict[str, list[str]] = {}
    with sitting(chromium, serving.url, scheme=scheme) as page:
        page.goto("/login")
        found["/login"] = violations(page)
        log_in(page)
        for path in PAGES:
            page.goto(path)
            for one in page.locator("details").all():
                one.evaluate("one => one.open = true")
            found[path] = violations(page)
    assert not any(found.values()), found


def test_no_page_is_wider_than_a_phone(chromium: Browser, serving: Server, boards: FleetSimulator) -> None:
    boards.add("pi-1", "a-board-with-a-rather-long-name-as-people-give-them-to-boards")
    heat(boards, "pi-1")
    with sitting(chromium, serving.url, phone=True) as page:
        log_in(page)
        for path in PAGES:
            page.goto(path)
            assert wide(page) <= 0, path
