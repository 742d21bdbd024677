"""The demo: a control plane and two agents as separate processes, requests that never stop, three releases.

Every step is the command that a user would type; nothing is faked: releases are signed, devices come by a token and have
certificates from then on, the bad release really has wrong goldens, and the tampered blob really is altered, in the
control plane's own store: nobody between it and a device could. Nothing in it depends on how fast
this machine is, or on which variant it measures fastest: what really went from what to what is told at the end.
"""

import argparse
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edgelift_agent.testing.ports import free_port
from edgelift_contract.hardware import this_machine
from scripts.demo_parts import Load, alter, blobs_of, derive_release, judge_figures

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
SOURCE = "builder/examples/simplecnn.py:digits"
DEVICES = ("pi-1", "pi-2")
#: For this machine's own class, which it measures: of another one it would tell no order.
TARGETS = {"x86-64-vnni": "x86-64-vnni", "x86-64-avx2": "x86-64"}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Longer than any step takes on a busy machine, seconds: only a step that never ends meets it.
LONG_S = 600.0
#: Requests that the demo sends at least; a quiet machine sends thrice as many.
ENOUGH = 500
console = Console(highlight=False, soft_wrap=True)


class Demo:
    """Everything below one temporary folder; `close` leaves no process behind."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.site = folder, folder / "site"
        #: Of the site's signing keys; a user types one.
        self.passphrase = secrets.token_urlsafe(16)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.ports: dict[str, int] = {}
        self.loads: dict[str, Load] = {}

    def say(self, text: str) -> None:
        console.print(f"\n[bold cyan]▶ {text}[/]")

    def edgelift(
        self, *arguments: str, check: bool = True, quiet: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a host command in front of the user."""
        if not quiet:
            shown = " ".join(str(a).replace(str(self.folder), "$DEMO") for a in arguments)
            console.print(f"[dim]$ edgelift {shown}[/]", markup=True)
        said = []
        with subprocess.Popen(
            [BIN / "edgelift", *arguments], cwd=ROOT, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
            env={"EDGELIFT_PASSPHRASE": self.passphrase, **os.environ, "COLUMNS": str(console.width)},
        ) as process:  # fmt: skip
            assert process.stdout is not None
            for line in process.stdout:  # as it comes: a rollout takes its time
                said.append(line)
                if not quiet:
                    console.print(line.rstrip(), markup=False)
        if check and process.returncode:
            raise SystemExit(f"edgelift {arguments[0]} failed with exit code {process.returncode}")
        return subprocess.CompletedProcess(arguments, process.returncode, "".join(said))

    def json(self, *arguments: str) -> dict:
        return json.loads(self.edgelift(*arguments, "--site", str(self.site), "--json", quiet=True).stdout)

    def spawn(self, *command: str | Path, log: str) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as out:
            process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    # --- the steps

    def build(self) -> None:
        """Two versions of one model: in float alone, then in int8 and float, the faster first; two more from them."""
        self.say("Build digits@1 (float alone) and digits@2 (int8 too) for two boards")
        for version, recipe in (("1", "float32"), ("2", "int8-static")):
            self.edgelift(
                "build", SOURCE, "--target", TARGETS.get(this_machine(), "arm64"),
                "--target", "rpi4", "--recipe", recipe, "--version", version, "--out", str(self.release(version)),
            )  # fmt: skip
        derive_release(self.release("2"), self.release("3"), "3", spoil=True)
        derive_release(self.release("2"), self.release("4"), "4", fresh=True)

    def release(self, version: str) -> Path:
        return self.folder / f"digits-{version}"

    def serve(self) -> None:
        """The control plane, with mosquitto as its child where it is installed."""
        self.say("Start the control plane")
        self.edgelift("init", str(self.site))
        for version in "1234":
            self.edgelift("publish", str(self.release(version)), "--site", str(self.site))
        self.spawn(BIN / "edgelift", "serve", "--site", self.site, "--port", str(free_port()), log="serve.log")
        log = self.folder / "serve.log"
        self.wait_for("the control plane", lambda: "Serving " in log.read_text())
        console.print(log.read_text().rstrip(), markup=False)

    def start_agents(self) -> None:
        """pi-1 takes MQTT where there is a broker; pi-2 HTTPS alone. Both come by one token, and have certificates then."""
        self.say("Start two agents: pi-1 on MQTT, pi-2 on HTTPS alone; a token lets them in, once each")
        token = self.token(len(DEVICES), "demo")
        for device in DEVICES:
            self.ports[device] = free_port()  # only now: during the build somebody else might have taken it
            self.enroll(device, token)
            self.spawn(BIN / "edgelift-agent", "--config", self.config(device), "run", log=f"{device}.log")
        self.wait_for("both agents", lambda: len(self.json("devices")) == 2)
        self.edgelift(
            "assign", "digits@1", "--device", "pi-1", "--device", "pi-2", "--probation", "1s",
            "--site", str(self.site),
        )  # fmt: skip
        self.wait_for("digits@1 on both", lambda: all(self.serving(d) == "1" for d in DEVICES))
        for device in DEVICES:
            self.loads[device] = Load(self.ports[device], rate_hz=40)
        console.print("Requests are coming now, 40 a second to each agent, until the end.")
        self.wait_for("the first answers", lambda: self.answered("1", 50))

    def token(self, uses: int, tags: str) -> Path:
        """A file with an enrolment token, as it would be carried to the devices."""
        made = self.edgelift(
            "token", "create", "--uses", str(uses), "--expires", "1h", "--tags", tags, "--site", str(self.site),
            quiet=True,
        )  # fmt: skip
        console.print(f"[dim]$ edgelift token create --uses {uses} --expires 1h --tags {tags}[/]")
        path = self.folder / "token"
        path.touch(0o600)
        path.write_text(made.stdout)
        return path

    def enroll(self, device: str, token: Path) -> None:
        """The device makes its key, and gets a certificate."""
        self.config(device).write_text(self.agent_config(device))
        words = ["--config", str(self.config(device)), "enroll", "--token-file", str(token)]
        shown = " ".join(words).replace(str(self.folder), "$DEMO")
        console.print(f"[dim]$ edgelift-agent {shown}[/]")
        done = subprocess.run(
            [BIN / "edgelift-agent", *words], cwd=ROOT, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, check=False,
        )  # fmt: skip
        console.print(done.stdout.rstrip(), markup=False)
        if done.returncode:
            raise SystemExit(f"{device} could not be enrolled: exit code {done.returncode}")

    def config(self, device: str) -> Path:
        return self.folder / f"{device}.toml"

    def agent_config(self, device: str) -> str:
        transport = "http" if device == "pi-2" else "auto"
        url = json.loads((self.site / "run" / "server.json").read_text())["url"]
        return (
            f'device = "{device}"\nstate_dir = "{self.folder / device}"\n'
            f'[host]\nurl = "{url}"\ntransport = "{transport}"\n'
            f"[serve]\nport = {self.ports[device]}\nadmin_port = 0\n"
            "keep_alive_s = 120\nrequest_timeout_s = 120\n"  # whoever asks here may be kept waiting by a busy machine
            "[telemetry]\nwindow_s = 2\npublish_interval_s = 2\nprobation_window_s = 1\n"
            "[update]\nretry_first_s = 0.2\n"
        )

    def roll_out(self) -> None:
        self.say("Roll digits@2 out in two waves: one device first, then all")
        self.edgelift(*self.rollout("2"))
        for device in DEVICES:
            self.edgelift("device", device, "--site", str(self.site))

    def roll_out_bad(self) -> bool:
        self.say("Roll out digits@3, whose goldens do not match: it must stop at its first device and roll back")
        done = self.edgelift(*self.rollout("3"), check=False)
        listed = next(r for r in self.json("rollout", "list") if r["release"] == "digits@3")
        rollout = self.json("rollout", "show", listed["id"])
        tried = [d["device"] for d in rollout["devices"]]
        console.print(f"exit code {done.returncode}; {rollout['state']}; tried on {', '.join(tried)} only")
        return (
            done.returncode == 1
            and rollout["state"] == "rolled-back"
            and len(tried) == 1
            and all(self.serving(d) == "2" for d in DEVICES)
        )

    def rollout(self, version: str) -> list[str]:
        return [
            "rollout", "start", f"digits@{version}", "--to", "tag:demo", "--waves", "1,100%", "--soak", "1s",
            "--probation", "4s", "--min-requests", "20", "--wait", "--site", str(self.site),
            "--max-latency-ratio", "0",  # whatever else this machine is busy with must not send a good release back
        ]  # fmt: skip

    def tamper(self) -> bool:
        self.say("Alter digits@4 in the control plane's own store: pi-2 must refuse it, and tell why")
        release = json.loads((self.release("4") / "release.json").read_text())
        # What pi-2 has already it does not fetch: altered is what no release before this one had.
        new = blobs_of(self.release("4")).difference(*(blobs_of(self.release(v)) for v in "123"))
        assert new and not any((self.folder / "pi-2" / "blobs" / blob).exists() for blob in new)
        for blob in new:
            alter(self.site / "blobs" / blob)
        self.edgelift("assign", "digits@4", "--device", "pi-2", "--probation", "1s", "--site", str(self.site))
        ids = {artifact["id"] for artifact in release["artifacts"]}
        self.wait_for("pi-2's refusal", lambda: self.update("pi-2").get("artifact") in ids and self.ended("pi-2"))
        update = self.update("pi-2")
        console.print(f"pi-2: {update['outcome']} ({update.get('code', '')}): {update.get('message', '')}")
        self.edgelift("devices", "--site", str(self.site))
        return (
            update["outcome"] == "refused"
            and update.get("code") == "digest-mismatch"
            and self.serving("pi-2") == "2"
        )

    # --- what the control plane knows

    def slot(self, device: str) -> dict:
        slots = self.json("device", device)["device"]["slots"]
        return next((slot for slot in slots if slot["slot"] == "digits"), {})

    def update(self, device: str) -> dict:
        return self.slot(device).get("update") or {}

    def ended(self, device: str) -> bool:
        return self.update(device).get("outcome", "in-progress") != "in-progress"

    def serving(self, device: str) -> str:
        return self.slot(device).get("version", "")

    def sent(self) -> int:
        """Requests, to both agents."""
        return sum(load.sent for load in self.loads.values())

    def answered(self, version: str, times: int) -> bool:
        """Has each agent answered so many requests by this version?"""
        return all(load.by_version.get(version, 0) >= times for load in self.loads.values())

    def all_told(self) -> bool:
        """Has the control plane been told all that the figures are made of?

        What a device does it tells within seconds; on a busy machine that is later than it has done it.
        """
        devices = [self.json("device", device) for device in DEVICES]
        if {found["device"]["transport"] for found in devices} != wanted_transports():
            return False
        for found in devices:
            served = {row["version"] for row in found["latency"] if row["total"]["count"]}
            if len(found["swaps"]) < 2 or not {"1", "2"} <= served:
                return False
        return True

    def wait_for(self, what: str, condition: object) -> None:
        deadline = time.monotonic() + LONG_S
        if not console.is_terminal:
            console.print(f"Waiting for {what}")
        with console.status(f"Waiting for {what}"):
            while time.monotonic() < deadline:
                for process in self.processes:
                    if process.poll() is not None:
                        raise SystemExit(f"a process ended with {process.returncode}: {process.args}")
                if condition():  # type: ignore[operator] # a plain callable
                    return
                time.sleep(0.3)
        raise SystemExit(f"{what} did not come within {LONG_S:.0f} s; see the logs above")

    def close(self) -> None:
        for load in self.loads.values():
            load.stop()
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def run(demo: Demo) -> dict:
    started = time.monotonic()
    demo.build()
    demo.serve()
    demo.start_agents()
    demo.roll_out()
    bad_rolled_back = demo.roll_out_bad()
    tamper_refused = demo.tamper()
    demo.wait_for("enough answers", lambda: demo.sent() > ENOUGH and demo.answered("2", 50))
    for load in demo.loads.values():
        load.stop()
    demo.wait_for("the devices' last figures", demo.all_told)
    devices = {device: demo.json("device", device) for device in DEVICES}
    figures = judge_figures(devices, {v: demo.release(v) for v in "12"}, demo.loads)
    return figures | {
        "bad_release_rolled_back": bad_rolled_back,
        "tamper_refused": tamper_refused,
        "seconds": round(time.monotonic() - started, 1),
    }


def show(figures: dict) -> None:
    table = Table(title="What happened", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    rows = {
        "requests sent / failed": f"{figures['requests']} / {figures['failed_requests']}",
        "swaps": str(figures["swaps"]),
        "swap: the pointer was held for": f"{figures['commit_us_max']:.1f} µs at most",
        "digits@1 → digits@2, as served": f"{figures['served_before']} → {figures['served_after']}",
        "latency p50 of these": f"{figures['p50_us_before']:.0f} → {figures['p50_us_after']:.0f} µs",
        "accuracy of these": f"{figures['accuracy_before']:.2%} → {figures['accuracy_after']:.2%}",
        "bytes fetched by the devices": f"{figures['bytes_fetched'] / 1e6:.2f} MB",
        "bad release rolled back": "yes" if figures["bad_release_rolled_back"] else "NO",
        "tampered blob refused": "yes" if figures["tamper_refused"] else "NO",
        "windows received": str(figures["windows_received"]),
        "transports": ", ".join(figures["transports"]),
        "formats built": ", ".join(figures["formats"]),
        "time": f"{figures['seconds']:.0f} s",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console.print()
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/demo")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--keep", action="store_true", help="keep the demo's folder, logs included")
    parser.add_argument("--fleet", action="store_true", help="a fleet instead: 300 boards, a bad release, kills")
    parser.add_argument(
        "--sqlite", action="store_true", help="with --fleet: not on PostgreSQL, even where that is installed"
    )
    parsed = parser.parse_args()
    for name in [n for n in os.environ if n.lower().endswith("_proxy") or n == "EDGELIFT_SITE"]:
        del os.environ[name]  # everything here is on loopback, and in a folder of its own
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, told_to_end)
    folder = Path(tempfile.mkdtemp(prefix="edgelift-demo-"))
    if parsed.fleet:
        from scripts import demo_fleet

        fleet = demo_fleet.FleetDemo(folder, sqlite=parsed.sqlite)
        perform(fleet, lambda: demo_fleet.run(fleet), demo_fleet.show, demo_fleet.failures, parsed)
    else:
        demo = Demo(folder)
        perform(demo, lambda: run(demo), show, failures, parsed)


def perform(
    demo: Demo, run: Callable[[], dict], show: Callable[[dict], None], judge: Callable[[dict], dict[str, bool]],
    parsed: argparse.Namespace,
) -> None:  # fmt: skip
    """Run it, show and write its figures, and leave nothing behind; the exit status says whether all of it held."""
    folder = demo.folder
    figures: dict = {}
    try:
        figures = run()
        show(figures)
    finally:
        demo.close()
        if not figures:
            for log in sorted(folder.glob("*.log")):
                console.print(f"--- {log.name}\n{log.read_text()[-3000:]}", markup=False)
        if parsed.keep:
            console.print(f"Kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if parsed.json:
        parsed.json.write_text(json.dumps(figures, indent=2) + "\n")
    wrong = [name for name, good in judge(figures).items() if not good]
    if wrong:
        console.print(f"[bold red]failed[/]: {', '.join(wrong)}")
        sys.exit(1)
    console.print("[bold green]All of it held.[/]")


def told_to_end(number: int, _frame: object) -> None:
    """Leave by the way out that stops every process; a second signal does not cut that short."""
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)


def wanted_transports() -> set[str]:
    """What must carry messages here."""
    return {"http", "mqtt"} if shutil.which("mosquitto") else {"http"}


def failures(figures: dict) -> dict[str, bool]:
    """What must be so, by name."""
    return {
        "failed_requests": figures["failed_requests"] == 0 and figures["requests"] > ENOUGH,
        "swaps": figures["swaps"] >= 4,
        "transports": set(figures["transports"]) == wanted_transports(),
        "tamper_refused": figures["tamper_refused"],
        "bad_release_rolled_back": figures["bad_release_rolled_back"],
        "windows_received": figures["windows_received"] > 0,
        "formats": {"onnx", "tflite", "torchscript"} <= set(figures["formats"]),
        "latency": figures["p50_us_before"] > 0 and figures["p50_us_after"] > 0,
        "accuracy": min(figures["accuracy_int8"], figures["accuracy_after"]) > 0.9,
    }


if __name__ == "__main__":
    main()
