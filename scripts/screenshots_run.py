"""A simulated fleet of 200 boards with things to see in it, and pictures of every page of its console."""

import argparse
import json
import signal
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from tests.console.chromium import find_chromium

from scripts.demo_fleet import FleetDemo
from scripts.demo_stage import ROOT, console

BOARDS = 200
PASSWORD = "screenshots are for looking at"
#: One class gets slower by version 3; some boards are hot and throttled, some are away.
PROFILE = """\
schema = 1
window_s = 4
publish_s = 5
poll_s = 60
retry_first_s = 0.5
retry_most_s = 5
fetch = "manifest"
[noise]
common_s = 60
[[classes]]
name = "box"
share = 1
hardware_class = "{own}"
latency_ms = 3
requests_per_s = 60
temperature_c = 44
tags = {{ site = "barn", hall = "office" }}
[[classes]]
name = "pi4"
share = 6
hardware_class = "arm64-neon"
board = "Raspberry Pi 4 Model B"
latency_ms = 24
spread = 0.1
requests_per_s = 60
temperature_c = 61
tags = {{ site = "barn", hall = "north" }}
versions = {{ "3" = 1.3 }}
[[classes]]
name = "pi5"
share = 3
hardware_class = "arm64-dotprod"
accepts = ["arm64-dotprod", "arm64-neon"]
board = "Raspberry Pi 5 Model B"
latency_ms = 9
spread = 0.1
requests_per_s = 60
temperature_c = 56
transport = "http"
tags = {{ site = "barn", hall = "south" }}
[[faults]]
version = "2"
kind = "refuse"
classes = ["pi4"]
share = 0.015
code = "golden-mismatch"
[[throttled]]
classes = ["pi4"]
share = 0.03
after_s = 40
for_s = 36000
factor = 1.6
[[offline]]
share = 0.03
after_s = 60
for_s = 36000
"""
#: What is wrong is told within the time that the pictures take.
ALERTS = """
[alerts]
silent_for_s = 30
begins_after_s = 10
gather_s = 5
"""
#: What is looked at: name → path, with what there is filled in.
PAGES = {
    "fleet": "/", "device": "/devices/{hot}", "rollouts": "/rollouts", "rollout": "/rollouts/{open}",
    "rollout-back": "/rollouts/{bad}", "releases": "/releases", "release": "/releases/digits/2",
    "start": "/releases/digits/4/start?to=all&waves=10%25,50%25,100%25", "audit": "/audit", "people": "/people",
    "system": "/system", "alerts": "/alerts",
}  # fmt: skip
SIZES = {"light": (1440, 900, "light"), "dark": (1440, 900, "dark"), "phone": (390, 844, "light")}


class Studio(FleetDemo):
    """The fleet that is looked at."""

    boards, profile, agents = BOARDS, PROFILE, ()

    def furnish(self) -> dict[str, str]:
        """Bring about what there is to see; returns names for `PAGES`."""
        self.build()
        self.serve()
        self.start_boards()
        words = [
            "user",
            "add",
            "ada",
            "--role",
            "admin",
            "--password-file",
            str(self._password()),
            "--site",
            str(self.site),
        ]
        self.edgelift(*words, quiet=True)
        self.roll_out("1", "100%", "--min-requests", "0", "--name", "First light")
        self.roll_out("2", "10%,40%,100%", "--soak", "4s", "--max-failures", "5%", "--name", "Smaller and faster")
        bad = self.roll_out("3", "10%,40%,100%", "--soak", "14s", "--name", "New preprocessing")
        self.wait_for("a board to be hot", lambda: self.hot())
        started = self.edgelift(
            "rollout", "start", "digits@4", "--to", "tag:site=barn", "--waves", "10%,40%,100%", "--soak", "10m",
            "--name", "Retrained on May", "--site", str(self.site), "--json", quiet=True,
        )  # fmt: skip
        name = json.loads(started.stdout)["id"]
        self.wait_for("its first wave", lambda: self.operator(f"/v1/rollouts/{name}?limit=0")["committed"] > 5)
        return {"open": name, "bad": bad["id"], "hot": self.hot()}

    def start_server(self) -> None:
        with (self.site / "site.toml").open("a") as config:
            config.write(ALERTS)
        super().start_server()

    def _password(self) -> Path:
        path = self.folder / "password"
        path.touch(0o600)
        path.write_text(PASSWORD)
        return path

    def hot(self) -> str:
        """A board that is hot; empty for none."""
        return next(
            (one["device"] for one in self.operator_list("/v1/gauges") if one["values"].get("soc_temp_c", 0) > 80),
            "",
        )

    def url(self) -> str:
        return str(json.loads((self.site / "run" / "server.json").read_text())["url"])


def take(browser: Browser, url: str, names: dict[str, str], folder: Path) -> None:
    """Every page in every size."""
    for size, (width, height, scheme) in SIZES.items():
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            ignore_https_errors=True,
            base_url=url,
        )
        page = context.new_page()
        page.goto("/login")
        page.screenshot(path=folder / f"login-{size}.png")
        page.fill("[name=name]", "ada")
        page.fill("[name=password]", PASSWORD)
        page.click("button.main")
        page.wait_for_url(f"{url}/")
        for name, path in PAGES.items():
            page.goto(path.format(**names))
            page.screenshot(path=folder / f"{name}-{size}.png", full_page=True)
        context.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/screenshots")
    parser.add_argument("--to", type=Path, default=ROOT / "screenshots", help="where they are put")
    parser.add_argument("--stay", action="store_true", help="go on afterwards, until Ctrl-C")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by the way out that ends every process
    asked.to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="edgelift-look-") as folder:
        studio = Studio(Path(folder))
        try:
            names = studio.furnish()
            with sync_playwright() as driver:
                browser = driver.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
                take(browser, studio.url(), names, asked.to)
                browser.close()
            console.print(f"{len(PAGES) * len(SIZES)} pictures in {asked.to}")
            if asked.stay:
                console.print(
                    f"{studio.url()} as ada, {PASSWORD!r}; {json.dumps(names)}; Ctrl-C ends it", markup=False
                )
                while True:
                    time.sleep(3600)
        except KeyboardInterrupt:
            pass
        finally:
            studio.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
