"""A broker that sends what no broker may: MQTT comes back when it ends, and HTTP carries everything meanwhile."""

import struct
from collections.abc import Iterator

import pytest
from tests.simulators.device import Device
from tests.simulators.odd_broker import OddBroker, publish
from tests.waiting import until

from edgelift_agent.link.mqtt import MAX_PACKET_BYTES
from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract import routes
from edgelift_contract.enrol import BrokerAccess

TOPIC = routes.desired_topic("pi-1").encode()
ODD = {
    "a topic that is no text": publish(b"\xff\xfe", b"{}"),
    "properties that are none": publish(TOPIC, b"{}", properties=b"\x05\xff\xff\xff\xff\xff"),
    "a packet of no kind": b"\0\0",
    "a message cut short": b"\x30\x01\0",
    "a length beyond all": b"\x30\xff\xff\xff\xff\xff",
    "a question about who we are": b"\xf0\0",
    "a refused subscription of nobody": b"\x90\x02\0\x09",
}


@pytest.fixture(params=ODD)
def broker(request: pytest.FixtureRequest) -> Iterator[OddBroker]:
    made = OddBroker(ODD[request.param])
    yield made
    made.close()


def test_mqtt_is_there_again_when_it_ends(host: ToyHost, device: Device, broker: OddBroker) -> None:
    host.broker = BrokerAccess("127.0.0.1", broker.port)
    host.assign("pi-1", toy=host.publish("1", ToyModelFile(scale=3)))
    # What this broker never forwards is heard over HTTP, whether it is believed or not.
    device.config.write_text(device.config.read_text().replace("[serve]", "poll_interval_s = 0.5\n[serve]"))
    device.start()
    until(lambda: device.answer() == 3, "HTTP to bring the model")
    until(lambda: broker.connects >= 2, "another try of MQTT")
    broker.odd = b""
    until(lambda: device.status()["transport"] == "mqtt", "MQTT to carry again")
    assert device.stop() == 0
    assert "Exception in thread" not in device.log.read_text()
    # A broker was told, at every try, not to send what would have to be gathered in memory only to be refused.
    assert struct.pack(">BI", 0x27, MAX_PACKET_BYTES) in broker.connect
