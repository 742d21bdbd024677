"""What a board is told while something is installed on it, and where things are."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path


class Stopped(Exception):
    """What was wrong, and what to do: the last line that is printed."""


def say(text: str) -> None:
    """A line for who looks on; journald takes it as it is."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@dataclass(frozen=True)
class Place:
    """Where things are on a board.

    Attributes:
        root: `/`; the paths below follow from it.
    """

    root: Path = field(default=Path("/"))

    @property
    def home(self) -> Path:
        """Agents side by side, and this program."""
        return self.root / "opt/edgelift"

    @property
    def current(self) -> Path:
        """A link to the agent that runs."""
        return self.home / "current"

    @property
    def trial(self) -> Path:
        """Stands while it is not yet known whether a new agent is healthy."""
        return self.home / "trial.json"

    @property
    def config(self) -> Path:
        """The agent's configuration."""
        return self.root / "etc/edgelift/agent.toml"

    @property
    def state(self) -> Path:
        """The agent's records and models."""
        return self.root / "var/lib/edgelift"

    @property
    def units(self) -> Path:
        """Where this program puts units."""
        return self.root / "etc/systemd/system"

    @property
    def sysusers(self) -> Path:
        """Who makes the agent's user again, should it be gone."""
        return self.root / "etc/sysusers.d/edgelift.conf"

    @property
    def program(self) -> Path:
        """The agent's command, of the version that is current."""
        return self.current / "bin/edgelift-agent"
