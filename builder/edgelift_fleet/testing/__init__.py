"""The fleet's supported fakes: simulated devices that speak to a real control plane."""

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
