"""A broker of which nothing can be made, as the host names it: HTTP carries everything."""

import pytest
from tests.simulators.device import Device

from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract.enrol import BrokerAccess

BROKERS = {
    "no port": BrokerAccess("127.0.0.1", 0),
    "a port below none": BrokerAccess("127.0.0.1", -1),
    "a port beyond all": BrokerAccess("127.0.0.1", 2**40),
    "no name": BrokerAccess("", 1883),
    "no name at all": BrokerAccess("ü" * 80, 1883),
}


@pytest.mark.parametrize("case", BROKERS)
def test_http_carries_everything(host: ToyHost, device: Device, case: str) -> None:
    host.broker = BROKERS[case]
    host.assign(device.name, toy=host.publish("1", ToyModelFile(scale=3)))
    device.start()
    host.wait_for(device.name, lambda r: r.slots.get("toy") and r.slots["toy"].update.outcome == "committed")
    assert device.answer() == 3
    assert device.status()["transport"] == "http"
