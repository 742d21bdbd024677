"""The agents' demo: a control plane and two agents as separate processes, requests that never stop, three releases.

Every step is the command that a user would type; nothing is faked: releases are signed, devices come by a token and have
certificates from then on, the bad release really has wrong goldens, and the tampered blob really is altered, in the
control plane's own store: nobody between it and a device could. Nothing in it depends on how fast
this machine is, or on which variant it measures fastest: what really went from what to what is told at the end.
"""

import json
import shutil
import time

from rich.table import Table

from edgelift_agent.testing.ports import free_port
from edgelift_contract.hardware import this_machine
from scripts.demo_parts import Load, alter, blobs_of, derive_release, judge_figures
from scripts.demo_stage import BIN, SOURCE, TARGETS, Stage, console

DEVICES = ("pi-1", "pi-2")
#: Requests that the demo sends at least; a quiet machine sends thrice as many.
ENOUGH = 500


class AgentsDemo(Stage):
    """Everything below one temporary folder."""

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
            self.enroll(device, token, "http" if device == "pi-2" else "auto")
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


def run(demo: AgentsDemo) -> dict:
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
