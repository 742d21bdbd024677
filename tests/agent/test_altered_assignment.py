"""A path that alters what an assignment says of a right artifact: the next honest answer heals, and no failure counts."""

from collections.abc import Callable

import msgspec
import pytest
from tests.simulators.device import Device
from tests.waiting import until

from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_agent.update.machine import State
from edgelift_agent.update.records import UpdateRow
from edgelift_agent.update.updates import holds
from edgelift_contract.assignment import Assignment, Policy, SlotAssignment, dump_assignment
from edgelift_contract.report import Report, UpdateReport

WANTED = SlotAssignment("a" * 64, 100, "digits", "1")
LONGER = msgspec.structs.replace(WANTED, manifest_bytes=101)
RENAMED = msgspec.structs.replace(WANTED, model="letters")


def altering(**fields: object) -> Callable[[Assignment], bytes]:
    """What makes an answer of an assignment that says something else of each artifact."""

    def alter(assignment: Assignment) -> bytes:
        slots = {name: msgspec.structs.replace(slot, **fields) for name, slot in assignment.slots.items()}
        return dump_assignment(msgspec.structs.replace(assignment, slots=slots))

    return alter


def heard(condition: Callable[[UpdateReport], bool]) -> Callable[[Report], bool]:
    def check(report: Report) -> bool:
        slot = report.slots.get("toy")
        return slot is not None and slot.update is not None and condition(slot.update)

    return check


def commits_at_the_first_try(host: ToyHost, device: Device) -> None:
    report = host.wait_for(device.name, heard(lambda update: update.outcome == "committed"))
    assert report.slots["toy"].update.attempts == 1
    assert device.answer() == 3
    until(lambda: host.of_kind("swap"), "the telling of the swap")
    assert {event.kind for event in host.of_kind("event")} <= {"agent-started", "committed"}


def test_another_length_of_the_manifest_is_healed_by_the_next_honest_answer(host: ToyHost, device: Device) -> None:
    honest, wanted = host.poll_body, host.publish("1", ToyModelFile(scale=3))
    host.poll_body = altering(manifest_bytes=wanted.manifest_bytes + 1)
    host.assign(device.name, toy=wanted)
    device.start()
    host.wait_for(device.name, heard(lambda update: update.code == "intercepted"))
    host.poll_body = honest
    commits_at_the_first_try(host, device)


def test_other_words_are_taken_while_it_is_fetched_and_nothing_comes_twice(host: ToyHost, device: Device) -> None:
    honest, wanted = host.poll_body, host.publish("1", ToyModelFile(scale=3), padding=500_000)
    host.poll_body = altering(version="9", rollout="r9", policy=Policy(allow_older=True))
    host.faults.held = True
    host.assign(device.name, toy=wanted)
    device.start()
    host.wait_for(device.name, heard(lambda update: (update.version, update.rollout) == ("9", "r9")))
    host.poll_body = honest
    host.wait_for(device.name, heard(lambda update: (update.version, update.rollout) == ("1", "")))
    host.faults.held = False
    commits_at_the_first_try(host, device)
    (swap,) = host.of_kind("swap")
    assert swap.version_to == "1"
    assert swap.fetched_bytes <= sum(map(len, host.blobs.values()))


def test_other_words_for_a_candidate_that_is_being_tried_are_no_failure(host: ToyHost, device: Device) -> None:
    wanted = host.publish("1", ToyModelFile(scale=3, delay_ms=20))
    host.assign(device.name, toy=wanted)
    device.start()
    host.wait_for(device.name, heard(lambda update: update.phase == "preflight"))
    policy = msgspec.structs.replace(wanted.policy, allow_older=True)
    revision = host.assign(device.name, toy=msgspec.structs.replace(wanted, policy=policy))
    host.wait_for(device.name, heard(lambda update: update.revision == revision))
    commits_at_the_first_try(host, device)


@pytest.mark.parametrize(
    ("state", "now", "words", "failed", "expected"),
    [
        ("fetching", "fetching", LONGER, False, True),
        ("fetching", "fetching", LONGER, True, False),
        ("fetching", "fetching", RENAMED, False, False),
        ("verifying", "fetching", RENAMED, True, False),
        ("preflight", "fetching", RENAMED, False, False),
        ("preflight", "fetching", WANTED, False, False),
        ("preflight", "preflight", LONGER, False, True),
        ("preflight", "preflight", WANTED, True, True),
    ],
)
def test_what_a_step_came_to_on_other_words_is_no_answer(
    state: str, now: str, words: SlotAssignment, failed: bool, expected: bool
) -> None:
    assert holds(UpdateRow(words, 1, state=now), State(state), WANTED, failed=failed) is expected
