"""The fleet's supported fakes: simulated devices that a test leads step by step, against a real control plane.

For many boards that live by themselves there is `edgelift_fleet.simulate`. These here are apart from it on purpose: each
is a thread and every call blocks, so that a test reads as what happens (`device.report()`, then what the host shows), and
a device waits in the middle of an update until the test lets it go.
"""

from edgelift_fleet.testing.device import FACTS, Behaviour, SimulatedDevice
from edgelift_fleet.testing.fleet import FleetSimulator, simulated_fleet, wait_until
from edgelift_fleet.testing.mqtt import connect_mqtt

__all__ = [
    "FACTS",
    "Behaviour",
    "FleetSimulator",
    "SimulatedDevice",
    "connect_mqtt",
    "simulated_fleet",
    "wait_until",
]
