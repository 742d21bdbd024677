"""A toy host and real agent processes for the agent's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.simulators.device import Device
from tests.simulators.server import Site

from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile


@pytest.fixture
def host() -> Iterator[ToyHost]:
    toy = ToyHost()
    yield toy
    toy.close()


@pytest.fixture
def device(tmp_path: Path, host: ToyHost) -> Iterator[Device]:
    made = Device(tmp_path / "device", host.url, host.token)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    made.load(ToyModelFile())
    yield made
    made.stop()
