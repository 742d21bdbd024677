"""What a test of an update waits for and begins with: the host's view of one slot, `toy` unless said."""

from collections.abc import Callable

from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract.assignment import Policy
from edgelift_contract.report import Report
from tests.simulators.device import Device
from tests.waiting import until

LONG = Policy(probation_s=600)


#: For models that answer all the while: what medians of microseconds do on a busy machine is not the point there.
QUICK_AND_DEAF_TO_LATENCY = Policy(probation_s=0.3, max_latency_ratio=0)


def ended(version: str, slot: str = "toy") -> Callable[[Report], bool]:
    """The update to `version` came to an end."""

    def check(report: Report) -> bool:
        update = report.slots[slot].update if slot in report.slots else None
        return update is not None and update.version == version and update.outcome != "in-progress"

    return check


def observing(version: str) -> Callable[[Report], bool]:
    return lambda r: "toy" in r.slots and r.slots["toy"].state == "observing" and r.slots["toy"].version == version


def outcome(host: ToyHost, device: Device, version: str) -> tuple[str, str, str]:
    """(outcome, code, what serves) once the update to `version` has ended."""
    report = host.wait_for(device.name, ended(version))
    slot = report.slots["toy"]
    assert slot.update is not None
    return slot.update.outcome, slot.update.code, slot.version


def serve_first(host: ToyHost, device: Device) -> None:
    host.assign(device.name, toy=host.publish("1", ToyModelFile(scale=1)))
    device.start()
    assert outcome(host, device, "1") == ("committed", "", "1")


def wait_items(host: ToyHost, kind: str, count: int) -> list:
    until(lambda: len(host.of_kind(kind)) >= count, f"{count} of {kind}")
    return host.of_kind(kind)
