"""The agent as systemd runs it, and whether it is healthy: it started, and serves what was served before."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from .said import Place, say

UNIT, JUDGE = "edgelift-agent.service", "edgelift-trial.service"
#: A new agent has so long to serve what the old one served, seconds: a large model is loaded and warmed up meanwhile.
HEALTHY_WITHIN_S = 600.0
_LOOK_S = 2.0
_JUDGE_UNIT = """\
[Unit]
Description=edgelift: whether a new agent is healthy, else the one before is started again
Documentation=file:///usr/share/doc/edgelift/README.md
After=edgelift-agent.service
ConditionPathExists={trial}

[Service]
Type=oneshot
ExecStart={home}/setup/onboard/run {python} --judge

[Install]
WantedBy=multi-user.target
"""


class Service:
    """systemd, where it runs; elsewhere, as while an image is made, nothing is started."""

    def __init__(self, place: Place) -> None:
        """Bind it to a board's paths."""
        self._place = place
        self.runs = (place.root / "run/systemd/system").is_dir()

    def set_up(self, unit: Path, python: str) -> None:
        """Units in place, and started with the board from now on."""
        self._place.units.mkdir(parents=True, exist_ok=True)
        judge = _JUDGE_UNIT.format(trial=self._place.trial, home=self._place.home, python=python)
        changed = [
            self._write(UNIT, unit.read_text(encoding="utf-8")),
            self._write(JUDGE, judge),
        ]
        if self.runs and any(changed):
            self._systemctl("daemon-reload")
        self._enable()

    def _write(self, name: str, text: str) -> bool:
        path = self._place.units / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return False
        part = path.with_name(f".{name}.part")
        part.write_text(text, encoding="utf-8")
        part.rename(path)
        return True

    def _enable(self) -> None:
        """As `systemctl enable` does, which needs a running systemd for some of it."""
        wants = self._place.units / "multi-user.target.wants"
        wants.mkdir(exist_ok=True)
        for name in (UNIT, JUDGE):
            if not (wants / name).is_symlink():
                (wants / name).symlink_to(self._place.units / name)

    def restart(self) -> bool:
        """Stop and start; True when systemd says that it serves (`Type=notify`)."""
        return self._systemctl("restart", UNIT)

    def stop(self) -> None:
        """Stop it, and for good."""
        if self.runs:
            self._systemctl("disable", "--now", UNIT)
            self._systemctl("disable", JUDGE)

    def forget(self) -> None:
        """Take the units away."""
        for name in (UNIT, JUDGE):
            (self._place.units / "multi-user.target.wants" / name).unlink(missing_ok=True)
            (self._place.units / name).unlink(missing_ok=True)
        if self.runs:
            self._systemctl("daemon-reload")

    def served(self) -> dict[str, str]:
        """Slot → the artifact that is live in it now; empty while nobody answers."""
        done = subprocess.run(
            [str(self._place.program), "--config", str(self._place.config), "status", "--json"],
            capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        if done.returncode:
            return {}
        try:
            slots = json.loads(done.stdout)["report"].get("slots", {})
            return {name: str(slot["artifact"]) for name, slot in slots.items() if slot.get("artifact")}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}

    def is_active(self) -> bool:
        """Does systemd say that it runs?"""
        return self._systemctl("is-active", "--quiet", UNIT)

    def becomes_healthy(self, slots: Mapping[str, str], within_s: float) -> bool:
        """Wait until the agent runs and has something live in each of these slots; False when it hasn't in time."""
        ends, told = time.monotonic() + within_s, False
        while time.monotonic() < ends:
            if self.is_active() and set(slots) <= set(self.served()):
                return True
            if not told:
                say("waiting for the agent to serve what was served before")
                told = True
            time.sleep(_LOOK_S)
        return False

    def last_words(self) -> str:
        """What the agent logged last."""
        done = subprocess.run(
            ["journalctl", "--unit", UNIT, "--lines", "20", "--output", "cat", "--no-pager"],
            capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        return done.stdout

    @staticmethod
    def _systemctl(*words: str) -> bool:
        return not subprocess.run(["systemctl", *words], capture_output=True, check=False).returncode
