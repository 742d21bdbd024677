"""Many simulated devices of one running site, and waiting for what they bring about."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgelift_contract.message_types import prepare_message_types
from edgelift_fleet.testing.device import Behaviour, SimulatedDevice


class FleetSimulator:
    """Many simulated devices of one running site."""

    def __init__(self, site: Path) -> None:
        """Find the server that runs on a site folder."""
        prepare_message_types()  # before the first thread
        self.url: str = json.loads((site / "run" / "server.json").read_text())["url"]
        self._token = (site / "secrets" / "enrolment-token").read_text().strip()
        self.devices: dict[str, SimulatedDevice] = {}

    def add(self, *names: str, behaviour: Behaviour | None = None, **options: Any) -> list[SimulatedDevice]:
        """Start devices; options as of `SimulatedDevice`. Each gets a behaviour of its own."""
        made = []
        for name in names:
            own = Behaviour(**vars(behaviour)) if behaviour else Behaviour()
            device = SimulatedDevice(self.url, self._token, name, own, **options).start()
            self.devices[name] = device
            made.append(device)
        return made

    def stop(self) -> None:
        """Stop all devices."""
        for device in self.devices.values():
            device.ask_to_stop()
        for device in self.devices.values():
            device.stop()


@contextmanager
def simulated_fleet(site: Path) -> Iterator[FleetSimulator]:
    """A `FleetSimulator` whose devices end with the block."""
    fleet = FleetSimulator(site)
    try:
        yield fleet
    finally:
        fleet.stop()


def wait_until(condition: Callable[[], Any], timeout_s: float = 60.0, *, what: str = "the condition") -> Any:
    """Wait until `condition()` is true and return it; raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise TimeoutError(f"{what} did not come about in {timeout_s:g} s")
