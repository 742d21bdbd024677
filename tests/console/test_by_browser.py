"""The console in a real browser: every page is for everybody, and says when its server is away. See also test_the_way.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgelift_fleet.client import Client
from edgelift_fleet.messages.people import PersonRequest, PersonView
from edgelift_fleet.site import load_site
from edgelift_fleet.testing import FleetSimulator, simulated_fleet
from tests.console.browser import AXE, NAME, NARROW, PASSWORD, browser, log_in, sitting, violations, wide
from tests.console.chromium import needs_chromium
from tests.console.judged import make_judged
from tests.console.stage import furnish, staged
from tests.fleet.conftest import Server, make_site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = needs_chromium
#: With what `furnish` names.
PAGES = (
    "/", "/?trouble=hot", "/?to=nobody", "/devices/{hot}", "/devices/{bad}?range=1h", "/devices/{new}",
    "/rollouts", "/rollouts?state=rolled-back", "/rollouts/{running}", "/rollouts/{back}", "/rollouts/{waiting}",
    "/releases", "/releases/digits/2", "/releases/digits/3", "/releases/faces/1",
    "/releases/digits/3/start", "/releases/digits/3/start?to=(", "/releases/digits/3/start?to=all",
    "/releases/digits/3/start?to=tag:hall=bad&waves=3,100%25", "/audit", "/people", "/system", "/alerts", "/none/such",
)  # fmt: skip


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


def test_the_first_board_appears_by_itself(chromium: Browser, serving: Server, boards: FleetSimulator) -> None:
    with sitting(chromium, serving.url) as page:
        log_in(page)
        page.get_by_text("edgelift token create").wait_for()
        assert not AXE.exists() or not violations(page)
        boards.add("pi-1")
        page.get_by_role("rowheader", name="pi-1").wait_for()  # without a reload
        assert page.get_by_text("edgelift token create").count() == 0


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


@pytest.fixture(scope="module")
def furnished(
    tmp_path_factory: pytest.TempPathFactory, releases: dict[str, Path]
) -> Iterator[tuple[str, list[str]]]:
    """A site with something on every page: its URL, and the pages."""
    folder = tmp_path_factory.mktemp("furnished")
    with staged(make_site(folder / "site", {**releases, "faces@1": make_judged(folder)})) as stage:
        names = furnish(stage)
        yield stage.server.url, [path.format(**names) for path in PAGES]


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm was missing at set-up")
@pytest.mark.parametrize("phone", [False, True], ids=["desk", "phone"])
def test_every_page_is_for_everybody(chromium: Browser, furnished: tuple[str, list[str]], *, phone: bool) -> None:
    url, paths = furnished
    found: dict[str, list[str]] = {}
    with sitting(chromium, url, phone=phone) as page:
        page.goto("/login")
        found["/login"] = violations(page)
        log_in(page)
        for path in paths:
            page.goto(path)
            page.evaluate(
                "document.querySelectorAll('details').forEach(one => { one.name = ''; one.open = true; })"
            )
            found[path] = violations(page)
            page.emulate_media(color_scheme="dark")
            found[f"{path} in the dark"] = violations(page, "color-contrast")
            page.emulate_media(color_scheme="light")
            assert wide(page) <= 0, path
        make_a_token(page)
        found["a token"] = violations(page)
    assert not any(found.values()), {path: told for path, told in found.items() if told}


def make_a_token(page: Page) -> None:
    page.goto("/people#make-token")
    page.get_by_text("Make a token for boards").click()
    form = page.locator("#make-token")
    form.get_by_label("Why").fill("To look at it")
    form.get_by_role("button").click()
    page.get_by_text("Here it is, this once").wait_for()


def test_no_page_is_wider_than_the_narrowest_phone(chromium: Browser, furnished: tuple[str, list[str]]) -> None:
    url, paths = furnished
    with sitting(chromium, url, phone=True) as page:
        log_in(page)
        page.set_viewport_size(NARROW)
        for path in paths:
            page.goto(path)
            assert wide(page) <= 0, path
