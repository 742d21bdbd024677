"""The whole way of somebody who has only the console: a board is enrolled, a release is rolled out and watched, a bad one
goes back by itself and says why, a hot board is found. With a mouse, on a phone, by keyboard alone, without scripts.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from edgelift_contract.identity import parse_token
from edgelift_fleet.messages import RolloutView
from tests.console.browser import NAME, PASSWORD, browser, sitting, wide
from tests.console.chromium import needs_chromium
from tests.console.person import Finger, Keyboard, Person
from tests.console.stage import HALL, Stage, staged
from tests.fleet.conftest import make_site
from tests.simulators.device import Device
from tests.waiting import LONG_S

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = needs_chromium
FIRST = 3  # boards of the first wave
_WHY = re.compile(
    r"Rolled back in wave 1 at \d\d:\d\d UTC: latency p\d\d \+\d\d\.\d % \(\+\d\d\.\d to \+\d\d\.\d\) on x86-64-avx2, "
    r"allowed \+5 %;"
)


class Begun(NamedTuple):
    """A rollout that was started, and what lets its boards end their update."""

    view: RolloutView
    go_on: threading.Event


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, releases: dict[str, Path]) -> Iterator[Stage]:
    with staged(make_site(tmp_path_factory.mktemp("way") / "site", releases)) as made:
        yield made


def test_the_whole_way_at_a_desk(chromium: Browser, site: Path, tmp_path: Path) -> None:
    with staged(site) as stage, sitting(chromium, stage.server.url) as page:
        somebody = Person(page)
        log_in(somebody)
        somebody.see("No board is here yet")
        assert page.locator("ol.steps code").all_inner_texts() == [
            "edgelift token create", "edgelift-agent enroll", "edgelift-agent run"
        ]  # fmt: skip
        device = Device(tmp_path / "pi-new", "", "", name="pi-new")
        enrols_a_board(somebody, device)
        with device.start("run", module="edgelift_agent.cli"):  # the last of the three
            somebody.await_(page.get_by_role("row", name="pi-new").get_by_text("online"))
            somebody.follow("pi-new")
            somebody.see("by the token")
            somebody.see("from the desk")
            rolls_out(somebody, stage, stage.hall("desk"))


@pytest.mark.parametrize("way", ["phone", "no scripts", "keyboard"])
def test_the_same_way(chromium: Browser, shared: Stage, tmp_path: Path, way: str) -> None:
    phone, scripts = way == "phone", way != "no scripts"
    kind = {"phone": Finger, "keyboard": Keyboard}.get(way, Person)
    with sitting(chromium, shared.server.url, phone=phone, scripts=scripts) as page:
        somebody = kind(page, scripts=scripts)
        log_in(somebody)
        name = way.replace(" ", "-")
        enrols_a_board(somebody, Device(tmp_path / "new", "", "", name=f"{name}-new"))
        hall = shared.hall(name)
        rolls_out(somebody, shared, hall)
        shared.close(hall)


def log_in(somebody: Person) -> None:
    somebody.page.goto("/")
    somebody.begin("Name", NAME)
    somebody.fill("Password", PASSWORD)
    somebody.press("Log in")
    somebody.skip()


def enrols_a_board(somebody: Person, device: Device) -> None:
    """By a token of the page where those are made; what the page shows is run."""
    page = somebody.page
    somebody.follow("People")
    somebody.open("Make a token for boards")
    somebody.fill("Tags that they get", "hall=new")
    somebody.fill("Note", "from the desk")
    somebody.fill("Why", "One more board")
    somebody.press("Make it")
    somebody.see("Here it is, this once")
    fits(somebody)
    shown, command = page.locator("pre.secret").inner_text(), page.locator("p code").first.inner_text()
    done = run_on_the_board(device, command, shown.strip())
    assert done.returncode == 0, done.stderr
    somebody.follow("To the fleet")
    somebody.await_(page.get_by_role("rowheader", name=device.name))
    fits(somebody)


def run_on_the_board(device: Device, command: str, token: str) -> subprocess.CompletedProcess[str]:
    """What a page said, as it was said; only where the board's files lie is this test's."""
    program, *words = shlex.split(command)
    assert program == "edgelift-agent"
    # As the command itself writes it where there is none; on a board nobody says where its state is.
    device.config.write_text(
        f'device = "{device.name}"\nstate_dir = "{device.state}"\n[host]\nurl = "{parse_token(token).url}"\n'
        f"[serve]\nport = {device.port}\nadmin_port = 0\n"
    )
    return subprocess.run(
        [sys.executable, "-m", "edgelift_agent.cli", "--config", str(device.config), *words],
        input=token, capture_output=True, text=True, timeout=LONG_S, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip


def rolls_out(somebody: Person, stage: Stage, hall: list[str]) -> None:
    """A good release, a bad one, and a board that got hot meanwhile."""
    good = starts(somebody, stage, hall, "2")
    goes_through(somebody, stage, hall, good)
    bad = starts(somebody, stage, hall, "3")
    goes_back(somebody, stage, hall, bad)
    finds_the_hot_one(somebody, stage, hall[4])


def starts(somebody: Person, stage: Stage, hall: list[str], version: str) -> Begun:
    """From the release's page, after the dry run; boards are held in the middle of their update until they are let go."""
    page = somebody.page
    somebody.follow("Releases")
    somebody.follow(f"digits@{version}")
    fits(somebody)
    somebody.follow("Start a rollout…")
    somebody.fill("To", f"tag:hall={hall[0].rpartition('-')[0]}")
    somebody.fill("Waves", f"{FIRST},100%")
    somebody.open("More: windows")
    somebody.fill("Probation", "0s")
    somebody.fill("Requests in probation", "0")
    somebody.press("Show what would happen")
    somebody.see(f"of {HALL} selected would get it")
    somebody.is_at(page.get_by_role("heading", name="2. What would happen"))
    fits(somebody)
    told = page.get_by_text("in the order of the seed").inner_text()
    first = page.get_by_role("row", name=re.compile(f"^1 {FIRST}")).locator("[data-label=First]").inner_text()
    somebody.fill("Why", f"Number {version} is smaller")
    go_on = stage.hold(hall)
    somebody.press(f"Start it on {HALL} devices")
    page.wait_for_url("**/rollouts/*")
    begun = stage.operator.client.get(f"/v1/rollouts/{page.url.rpartition('/')[2]}", RolloutView)
    assert (
        str(begun.seed) in told.split(",")[1]
        and begun.plan
        and begun.plan.comment == f"Number {version} is smaller"
    )
    reached = stage.operator.wait(begun, lambda view: view.counts.get("updating") == FIRST)
    assert {one.device for one in reached.devices} == set(first.split(", "))
    return Begun(begun, go_on)


def goes_through(somebody: Person, stage: Stage, hall: list[str], rollout: Begun) -> None:
    """Wave by wave, on a page that is not loaded again."""
    page = somebody.page
    page.evaluate("window.stayed = true")
    somebody.see("What happens next")
    somebody.see(f"0 of {FIRST} devices serve it, {FIRST} under way")
    somebody.see("all of wave 1 that are there serve through their probation")
    fits(somebody)
    stops_and_goes_on(somebody)
    rollout.go_on.set()
    stage.operator.wait(rollout.view, lambda view: view.committed == FIRST)
    somebody.see(f"{FIRST} of {FIRST} devices serve it")
    somebody.see("isn’t found to be slower than its controls by more than 5 %")
    stage.serve(hall)
    stage.operator.wait(rollout.view, "done")
    somebody.see(f"{HALL - FIRST} of {HALL - FIRST} devices serve it")
    somebody.see(f"{HALL} of {HALL} boards serve digits@2")
    fits(somebody)
    assert page.evaluate("window.stayed === true") == somebody.scripts


def stops_and_goes_on(somebody: Person) -> None:
    """A reason that was typed stays while the page refreshes itself."""
    somebody.open("Pause")
    somebody.fill("Why", "Lunch comes first")
    somebody.look_up()
    somebody.press("Pause")
    somebody.see("Paused, for: ")
    somebody.see("Lunch comes first")
    somebody.open("Resume")
    somebody.fill("Why", "It was good")
    somebody.press("Resume")
    somebody.see("It was good")
    somebody.page.evaluate("window.stayed = true")


def goes_back(somebody: Person, stage: Stage, hall: list[str], rollout: Begun) -> None:
    """By itself; the page says why."""
    page = somebody.page
    page.evaluate("window.stayed = true")
    rollout.go_on.set()
    stage.operator.wait(rollout.view, lambda view: view.committed == FIRST)
    somebody.see(f"{FIRST} of {FIRST} devices serve it")
    stage.serve(hall, 1.4, "3")
    stage.operator.wait(rollout.view, "rolled-back")
    somebody.see(f"{FIRST} of {HALL} boards had been asked to take it; all are back on digits@2")
    verdict = page.locator(".headline").inner_text()
    assert _WHY.match(verdict), verdict
    tile = page.get_by_role("listitem").filter(has_text="worse than allowed")
    assert f"{FIRST} boards against {HALL - FIRST} controls" in tile.inner_text()
    fits(somebody)
    assert page.evaluate("window.stayed === true") == somebody.scripts
    assert stage.operator.versions(*hall) == ["2"] * HALL


def finds_the_hot_one(somebody: Person, stage: Stage, hot: str) -> None:
    """In two clicks from the front page."""
    stage.heat(hot)
    somebody.follow("Fleet")
    somebody.await_(somebody.page.get_by_role("link", name="1 device is hot"))
    somebody.follow("1 device is hot")
    assert somebody.page.get_by_role("rowheader").all_inner_texts() == [hot]
    fits(somebody)
    somebody.follow(hot)
    somebody.see("It is hot")
    assert somebody.page.get_by_role("heading", level=1).inner_text() == hot
    fits(somebody)
    stage.heat(hot, 50.0)  # for whoever comes next


def fits(somebody: Person) -> None:
    """Nothing stands beside the window."""
    assert wide(somebody.page) <= 0, somebody.page.url
