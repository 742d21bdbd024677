"""A placebo swap: a device swaps to what it serves already, as it would to another model, and loses no request."""

import msgspec
from tests.simulators.device import Device
from tests.simulators.updates import LONG, QUICK_AND_DEAF_TO_LATENCY, outcome, serve_first, wait_items
from tests.waiting import until

from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract.report import Report


def _serves(report: Report) -> bool:
    return report.slots["toy"].state == "serving"


def test_it_is_a_real_swap_that_drops_nothing_and_leaves_the_way_back_as_it_was(
    host: ToyHost, device: Device
) -> None:
    serve_first(host, device)
    second = host.publish("2", ToyModelFile(scale=2), policy=QUICK_AND_DEAF_TO_LATENCY)
    host.assign(device.name, toy=second)
    assert outcome(host, device, "2")[0] == "committed"
    before = host.last(device.name).slots["toy"]
    host.assign(device.name, toy=msgspec.structs.replace(second, placebo="r7.1"))
    answers = []
    while len(host.of_kind("swap")) < 3:
        answers.append(device.answer())
    swap = host.of_kind("swap")[2]
    assert (swap.reason, swap.dropped, swap.artifact_from) == ("placebo", 0, swap.artifact_to)
    assert set(answers) == {2}
    after = host.wait_for(
        device.name, lambda r: r.slots["toy"].generation > before.generation and _serves(r)
    ).slots["toy"]
    assert (after.artifact, after.generation) == (before.artifact, swap.generation_to)
    # The same occasion asked for again is no other: nothing happens, until another comes.
    revision = host.assign(device.name, toy=msgspec.structs.replace(second, placebo="r7.1"))
    host.wait_for(device.name, lambda r: r.revision_applied == revision)
    assert len(host.of_kind("swap")) == 3
    host.assign(device.name, toy=msgspec.structs.replace(second, placebo="r7.2"))
    assert wait_items(host, "swap", 4)[3].reason == "placebo"
    device.order("rollback")
    until(lambda: device.answer() == 1, "the version before both")


def test_one_that_is_undone_puts_the_old_generation_back(host: ToyHost, device: Device) -> None:
    first = host.publish("1", ToyModelFile(scale=1))
    host.assign(device.name, toy=first)
    device.start()
    assert outcome(host, device, "1")[0] == "committed"
    host.assign(device.name, toy=msgspec.structs.replace(first, placebo="r7.1", policy=LONG))
    host.wait_for(device.name, lambda r: r.slots["toy"].state == "observing")
    device.order("rollback")
    swaps = wait_items(host, "swap", 2)
    assert swaps[1].reason == "rollback"
    generation = host.wait_for(device.name, lambda r: r.slots["toy"].state == "pinned").slots["toy"].generation
    assert generation > swaps[1].generation_to
    assert device.answer() == 1
