"""The agent inside a user's own Python program: models without a socket in between, updated all the same.

    with embedded("/etc/edgelift/agent.toml") as models:
        slot = models.slot("detector")
        while True:
            with slot.lease() as model:                 # one generation for the whole block
                scores = model.run({"x": frame})

Each run is measured and counts in probation, as a request over HTTP does. A lease held for long holds up the
next swap but one; take one per frame.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from edgelift_agent.app import Agent
from edgelift_agent.config import load_config
from edgelift_agent.serving.inference import is_requests_fault
from edgelift_agent.serving.slots import Generation, Slot
from edgelift_agent.telemetry.latency import LatencyRecorder, Sample
from edgelift_contract.errors import DeviceError
from edgelift_contract.manifest import Manifest


class LeasedModel:
    """One generation, for as long as its lease lasts."""

    def __init__(self, slot: Slot, generation: Generation, recorder: LatencyRecorder) -> None:
        self._slot, self._generation, self._recorder = slot, generation, recorder

    @property
    def manifest(self) -> Manifest:
        """What the model is: its inputs, outputs, release."""
        return self._generation.manifest

    @property
    def generation(self) -> int:
        """The generation's number; it only grows."""
        return self._generation.number

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Infer: name → numpy array in, name → numpy array out; raises what the runtime raises.

        What the caller gave wrong doesn't count as the model's error.
        """
        began = time.perf_counter()
        try:
            results = self._generation.model.run(inputs, outputs)
        except Exception as error:
            if not is_requests_fault(self._slot, self._generation, inputs, error):
                self._recorder.record_error(self._generation.key)
            raise
        spent = (time.perf_counter() - began) * 1e6
        self._recorder.record(self._generation.key, Sample(0.0, 0.0, spent, 0.0, spent))
        return results


class MeasuredSlot:
    """A slot whose runs are measured."""

    def __init__(self, slot: Slot, recorder: LatencyRecorder) -> None:
        self._slot, self._recorder = slot, recorder

    @contextmanager
    def lease(self, timeout_s: float | None = None) -> Iterator[LeasedModel]:
        """Take part in the current generation.

        Raises:
            DeviceError: `not-serving` when nothing is loaded, `busy` when a parked slot's wait is over.
        """
        with self._slot.lease(timeout_s) as generation:
            yield LeasedModel(self._slot, generation, self._recorder)

    def wait(self, timeout_s: float) -> None:
        """Wait until a model serves here.

        Raises:
            DeviceError: `not-serving` when none did in time.
        """
        deadline = time.monotonic() + timeout_s
        while self._slot.current is None:
            if time.monotonic() > deadline:
                raise DeviceError(
                    "not-serving", f"No model was loaded in {self._slot.name!r} within {timeout_s:g} s."
                )
            time.sleep(0.05)


class Models:
    """The slots of an agent that runs in this process."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def slot(self, name: str) -> MeasuredSlot:
        """The slot of that name, whether or not a model is there yet."""
        return MeasuredSlot(self._agent.serving.slots.make(name), self._agent.serving.recorder)


def embedded(config: str | Path) -> AbstractContextManager[Models]:
    """Run the agent on threads of this process until the block ends.

    Raises:
        DeviceError, ContractError: as `edgelift-agent run` would say.
    """
    return _embedded(Agent(load_config(Path(config))))


@contextmanager
def _embedded(agent: Agent) -> Iterator[Models]:
    started = threading.Event()
    thread = threading.Thread(target=agent.run, kwargs={"signals": False, "started": started}, name="agent")
    thread.start()
    started.wait(timeout=60)
    try:
        yield Models(agent)
    finally:
        agent.worker.stop()
        thread.join(timeout=30)
