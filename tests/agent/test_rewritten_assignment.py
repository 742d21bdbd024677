"""A proxy that reads JSON and writes it again in its own way: what the assignment says is the same."""

import json

from tests.simulators.device import Device

from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract import codec
from edgelift_contract.assignment import Assignment, dump_assignment


def in_its_own_way(assignment: Assignment) -> bytes:
    read = json.loads(dump_assignment(assignment))
    return json.dumps(dict(reversed(read.items())), indent=2).encode()


def test_an_assignment_written_in_another_way_is_the_same(host: ToyHost, device: Device) -> None:
    host.poll_body = in_its_own_way
    host.assign(device.name, toy=host.publish("1", ToyModelFile(scale=3)))
    device.start()
    report = host.wait_for(
        device.name, lambda r: r.slots.get("toy") and r.slots["toy"].update.outcome == "committed"
    )
    assert device.answer() == 3
    # Host and device agree on what the number means: the host had no reason to count beyond it.
    assert (report.revision_seen, host.assignments[device.name].revision) == (1, 1)
    assert report.assignment == codec.digest(dump_assignment(host.assignments[device.name]))
