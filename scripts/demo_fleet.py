"""The fleet's demo: two real agents and 300 simulated boards, a good release, a bad one, and everything killed once.

The control plane runs on PostgreSQL where that is installed, else on SQLite; the boards are of three classes, some of
them offline for a while. A release 30 % slower on one class must stop by itself; then the control plane, the broker and
the database are killed (-9, one by one) in the middle of a rollout, and nothing may be lost or doubled.
"""

import json
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from edgelift_agent.testing.ports import free_port
from edgelift_contract.hardware import this_machine
from scripts.demo_parts import Load, derive_release
from scripts.demo_stage import BIN, SOURCE, TARGETS, Stage, console

BOARDS = 300
#: Where mosquitto may be.
SBIN = "/usr/sbin:/usr/bin:/usr/local/sbin"
AGENTS = ("agent-1", "agent-2")
#: Whatever else this machine is busy with must not send the two real agents back: what is slower is found on the boards.
GOOD = ("--max-latency-ratio", "0")
#: One format is enough for boards that fetch and don't run: the two agents are given ONNX, as every derived release is.
RECIPE = """\
name = "float32"
summary = "The model as it is, in ONNX alone."
[[variant]]
name = "float32"
format = "onnx"
required = true
steps = ["export-onnx"]
"""
#: Of three classes the second finds digits@3 30 % slower. Two seconds of probation bring the hundred requests without which
#: a board isn't compared, so that no wave waits long for them; four are served.
PROFILE = """\
schema = 1
window_s = 2
publish_s = 3
poll_s = 60
retry_first_s = 0.5
retry_most_s = 5
fetch = "manifest"
[noise]
common_s = 30
[[classes]]
name = "box"
share = 1
hardware_class = "{own}"
latency_ms = 3
requests_per_s = 60
tags = {{ site = "barn" }}
[[classes]]
name = "pi4"
share = 3
hardware_class = "arm64-neon"
latency_ms = 24
requests_per_s = 60
tags = {{ site = "barn" }}
versions = {{ "3" = 1.3 }}
[[classes]]
name = "pi5"
share = 2
hardware_class = "arm64-dotprod"
accepts = ["arm64-dotprod", "arm64-neon"]
latency_ms = 9
requests_per_s = 60
transport = "http"
tags = {{ site = "barn" }}
[[offline]]
share = 0.05
after_s = 25
for_s = 20
"""


class FleetDemo(Stage):
    """Everything below one temporary folder.

    Attributes:
        boards, profile: how many boards are simulated, and what they are.
        agents: that really serve.
    """

    boards, profile, agents = BOARDS, PROFILE, AGENTS

    def __init__(self, folder: Path, *, sqlite: bool = False) -> None:
        super().__init__(folder)
        self.database, self._sqlite = "sqlite", sqlite
        self.postgres: Any = None
        self.port = free_port()
        self.server: subprocess.Popen[bytes] | None = None
        self.simulation: subprocess.Popen[bytes] | None = None
        self.killed: list[str] = []
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        super().say(f"{time.monotonic() - self._began:.0f} s  {text}")

    # --- the steps

    def build(self) -> None:
        self.say(
            "Build digits@1 in float for this machine and the Pi 4 (the Pi 5 takes that too); three more versions from it"
        )
        own, recipe = TARGETS.get(this_machine(), "arm64"), self.folder / "float32.toml"
        recipe.write_text(RECIPE)
        self.edgelift(
            "build", SOURCE, "--target", own, "--target", "rpi4", "--recipe", str(recipe),
            "--version", "1", "--out", str(self.release("1")),
        )  # fmt: skip
        for version in "234":
            derive_release(self.release("1"), self.release(version), version, fresh=True)

    def serve(self) -> None:
        url = self._database()
        self.say(f"Start the control plane on {self.database}")
        self.edgelift("init", str(self.site), *(["--database", url] if url else []), quiet=True)
        for version in "1234":
            self.edgelift("publish", str(self.release(version)), "--site", str(self.site))
        self.start_server()

    def _database(self) -> str:
        try:
            from tests.fleet.postgres import Postgres, find_postgres
        except ModuleNotFoundError:  # its driver is an extra
            return ""
        programs = None if self._sqlite else find_postgres()
        if programs is None:
            return ""
        self.database, self.postgres = "postgresql", Postgres(programs)
        return str(self.postgres.start().database())

    def start_server(self) -> None:
        with (self.folder / "serve.log").open("ab") as log:
            self.server = subprocess.Popen(
                [BIN / "edgelift", "serve", "--site", self.site, "--port", str(self.port)],
                stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        assert self.server.stdout is not None
        line = self.server.stdout.readline().decode().strip()
        if not line:
            raise SystemExit(
                f"the control plane did not start:\n{(self.folder / 'serve.log').read_text()[-3000:]}"
            )
        console.print(line, markup=False)

    def start_agents(self) -> None:
        self.say("Start two agents, which really serve")
        token = self.token(len(AGENTS), "site=barn")
        for device in AGENTS:
            self.ports[device] = free_port()
            self.enroll(device, token)
            self.spawn(BIN / "edgelift-agent", "--config", self.config(device), "run", log=f"{device}.log")

    def start_boards(self) -> None:
        self.say(
            f"Switch {self.boards} simulated boards of three classes on; some will lose their link for a while"
        )
        profile = self.folder / "profile.toml"
        profile.write_text(self.profile.format(own=this_machine()))
        with (self.folder / "simulate.log").open("ab") as log, (self.folder / "simulate.json").open("wb") as out:
            self.simulation = subprocess.Popen(
                [BIN / "edgelift", "simulate", "--devices", str(self.boards), "--profile", profile, "--site", self.site,
                 "--json", "--every", "2s"],
                stdout=out, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self.processes.append(self.simulation)
        wanted = self.boards + len(self.agents)
        self.wait_for(f"{wanted} devices", lambda: self.devices() == wanted)
        self.wait_for("every link", self.all_linked)

    def devices(self) -> int:
        return int(self.operator("/v1/health")["devices"])

    def all_linked(self) -> bool:
        lines = (self.folder / "simulate.log").read_text().splitlines()
        return bool(lines) and lines[-1].startswith(f"{self.boards} of {self.boards} boards connected")

    def operator(self, path: str) -> dict[str, Any]:
        """What the operators' API answers."""
        from edgelift_fleet.client import Client
        from edgelift_fleet.site import load_site

        return Client.of_site(load_site(self.site)).get(path, dict)

    def operator_list(self, path: str) -> list[dict[str, Any]]:
        """The same of a list."""
        from edgelift_fleet.client import Client
        from edgelift_fleet.site import load_site

        return Client.of_site(load_site(self.site)).get(path, list)

    def roll_out(
        self, version: str, waves: str, *options: str, then: Callable[[str], None] = lambda _: None
    ) -> dict:
        """Start a rollout, do something in its middle, and wait for its end."""
        started = self.edgelift(
            "rollout", "start", f"digits@{version}", "--to", "tag:site=barn", "--waves", waves, "--probation", "4s",
            "--deadline", "150s", *options, "--site", str(self.site), "--json", quiet=True,
        )  # fmt: skip
        name = json.loads(started.stdout)["id"]
        console.print(
            f"[dim]$ edgelift rollout start digits@{version} --to tag:site=barn --waves {waves}[/]  {name}"
        )
        then(name)
        self.wait_for(f"the end of {name}", lambda: self.rollout_ended(name))
        found = self.operator(f"/v1/rollouts/{name}?limit=1000")
        console.print(f"{name}: {found['state']}, {found['committed']} of {found['cohort']}: {found['reason']}")
        return found

    def rollout_ended(self, name: str) -> bool:
        return self.operator(f"/v1/rollouts/{name}?limit=0")["state"] in (
            "done", "rolled-back", "wave-rolled-back", "cancelled", "paused",
        )  # fmt: skip

    def kill_all(self, name: str) -> None:
        """The control plane, the broker and the database, one by one, each in mid-rollout."""
        self.in_the_middle(name)
        self.say("kill -9 the control plane")
        assert self.server is not None
        self.server.kill()
        self.server.wait()
        self.killed.append("control plane")
        self.start_server()
        if "broker" in to_be_killed(self.database):
            self.in_the_middle(name)
            self.say("kill -9 the broker")
            for child in psutil.Process(self.server.pid).children(recursive=True):
                if "mosquitto" in child.name():
                    child.kill()
                    self.killed.append("broker")
        if self.postgres is not None:
            self.in_the_middle(name)
            self.say("kill -9 the database")
            self.postgres.kill()
            self.killed.append("database")
            time.sleep(1)
            self.postgres.start()

    def in_the_middle(self, name: str) -> None:
        """Wait until some more boards have committed."""
        first = self.operator(f"/v1/rollouts/{name}?limit=0")["committed"]

        def moved() -> bool:
            now = self.operator(f"/v1/rollouts/{name}?limit=0")
            if now["state"] != "running":
                raise SystemExit(f"{name} is {now['state']}: {now['reason']}")
            return bool(now["committed"] > first)

        self.wait_for(f"more boards than {first}", moved)

    # --- what became of it

    def running(self) -> Counter[str]:
        """Version → devices that serve it, as the control plane was told."""
        found: Counter[str] = Counter()
        for device in self.all_devices():
            found[next((slot["version"] for slot in device["slots"] if slot["slot"] == "digits"), "")] += 1
        return found

    def all_devices(self) -> list[dict[str, Any]]:
        return list(json.loads(self.edgelift("devices", "--site", str(self.site), "--json", quiet=True).stdout))

    def lost(self, rollout: dict, version: str) -> dict[str, int]:
        """Boards that don't serve the release, and boards that did not commit to it exactly once."""
        once = 0
        for device in self.all_devices():
            history = self.operator(f"/v1/devices/{device['device']}")["history"]
            mine = [h for h in history if h["update"].get("rollout") == rollout["id"]]
            once += sum(h["update"]["outcome"] == "committed" for h in mine) == 1
        cohort = rollout["cohort"]
        return {"not_serving": cohort - self.running()[version], "not_once": cohort - once}

    def close(self) -> None:
        super().close()
        if self.server is not None and self.server.poll() is None:
            self.server.send_signal(signal.SIGTERM)
            try:
                self.server.wait(60)
            except subprocess.TimeoutExpired:
                self.server.kill()
        if self.postgres is not None:
            self.postgres.remove()


def stopped_by(rollout: dict) -> str:
    """Who stopped it: boards that went back by themselves, or the comparison with boards that it had not reached."""
    codes = Counter(device["code"] for device in rollout["devices"] if device["code"])
    if not codes:
        return "fleet gate"
    code = codes.most_common(1)[0][0]
    return "device guard" if code.startswith("probation-") else code


def run(demo: FleetDemo) -> dict[str, Any]:
    began = time.monotonic()
    demo.build()
    demo.serve()
    demo.start_agents()
    demo.start_boards()
    demo.say("digits@1 to all, so that everybody has something to go back to")
    first = demo.roll_out("1", "100%", "--min-requests", "0", *GOOD)
    if first["state"] != "done":
        raise SystemExit("not even the first release went through")
    for device in AGENTS:
        demo.loads[device] = Load(demo.ports[device], rate_hz=20)
    demo.say("A good release, in waves; boards that are offline catch up")
    good = demo.roll_out("2", "20,40%,100%", "--soak", "3s", *GOOD)
    demo.say("A release that is 30 % slower on the Pi 4s alone: it must stop by itself")
    bad = demo.roll_out("3", "20,40%,100%", "--soak", "14s", *GOOD)
    demo.wait_for("the boards to be back", lambda: demo.running()["3"] == 0)
    demo.say("A good release again, while everything is killed once")
    last = demo.roll_out("4", "5%,30%,60%,100%", "--soak", "2s", *GOOD, then=demo.kill_all)
    lost = demo.lost(last, "4")
    left = demo.running()
    return {
        "database": demo.database, "boards": BOARDS, "agents": len(AGENTS), "first_completed": first["state"] == "done",
        "good_completed": good["state"] == "done" and good["committed"] == good["cohort"],
        "bad_stopped_at_wave": bad["wave"], "stopped_by": stopped_by(bad), "bad_devices_reached": bad["reached"],
        "left_on_bad": left["3"], "rolled_back": bad["state"] == "rolled-back", "reason": bad["reason"],
        "killed": demo.killed, "killed_completed": last["state"] == "done", "lost": sum(lost.values()), **lost,
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def failures(figures: dict[str, Any]) -> dict[str, bool]:
    """What must be so, by name."""
    return {
        "good_completed": figures["good_completed"],
        "bad_stopped_at_wave": 1 <= figures["bad_stopped_at_wave"] <= 2,
        "bad_devices_reached": figures["bad_devices_reached"] < BOARDS / 2,
        "left_on_bad": figures["left_on_bad"] == 0,
        "rolled_back": figures["rolled_back"],
        "reason": any(c.isdigit() for c in figures["reason"]),
        "killed": set(figures["killed"]) == to_be_killed(figures["database"]),
        "killed_completed": figures["killed_completed"],
        "lost": figures["lost"] == 0,
    }


def to_be_killed(database: str) -> set[str]:
    """What there is here to be killed."""
    broker = {"broker"} if shutil.which("mosquitto", path=SBIN) else set()
    return {"control plane", *broker, *({"database"} if database == "postgresql" else ())}


def show(figures: dict[str, Any]) -> None:
    console.print()
    for name, value in figures.items():
        console.print(f"{name:22} {value}", markup=False)
