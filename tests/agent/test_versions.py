"""A control plane of a release too far away: refused with the way on, while what is committed serves."""

from tests.simulators.device import Device
from tests.simulators.updates import serve_first
from tests.waiting import until

from edgelift_agent.testing.host import ToyHost
from edgelift_contract import __version__
from edgelift_contract.versions import minor_of


def test_it_serves_says_so_and_goes_on_once_the_other_was_updated(host: ToyHost, device: Device) -> None:
    serve_first(host, device)
    device.stop()
    major, minor = minor_of(__version__)
    host.version = f"{major}.{minor + 2}.0"
    device.start()
    until(lambda: device.status()["report"].get("degraded"), "the fault told")
    (fault,) = device.status()["report"]["degraded"]
    assert (fault["part"], fault["code"]) == ("host", "version-skew")
    assert (
        f"the control plane {host.version}" in fault["message"] and "Update edgelift on pi-1" in fault["message"]
    )
    assert device.answer() == 1
    assert device.status()["transport"] == "none"
    host.version = f"{major}.{minor + 1}.0"
    until(lambda: not device.status()["report"].get("degraded"), "its end")
    assert device.status()["transport"] == "http"
