"""When the host hears which assignment is held: a path that alters each costs less and less, honest ones wait for none."""

from collections.abc import Callable

from tests.agent.test_altered_assignment import altering
from tests.agent.test_link import configure
from tests.agent.test_uplink import StandingClock
from tests.simulators.device import Device
from tests.waiting import LONG_S, until

from edgelift_agent.link.telling import STEADY_S, Telling
from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract import codec
from edgelift_contract.assignment import Assignment, dump_assignment
from edgelift_contract.report import Report


def committed(revision: int) -> Callable[[Report], bool]:
    return lambda report: report.revision_applied == revision


def test_the_first_is_told_at_once_and_the_next_later_and_later() -> None:
    clock = StandingClock()
    telling = Telling(clock, lambda: iter([1.0, 2.0, 4.0]))
    telling.changed()
    assert telling.may_tell and telling.due_in_s() is None
    for delay_s in (1.0, 2.0, 4.0):
        telling.changed()
        assert not telling.may_tell and telling.due_in_s() == delay_s
        clock.at += delay_s
        assert telling.may_tell and telling.due_in_s() == 0
        telling.told()
        assert telling.due_in_s() is None


def test_one_that_stood_ends_the_series() -> None:
    clock = StandingClock()
    telling = Telling(clock, lambda: iter([1.0, 2.0]))
    for _ in range(5):
        telling.changed()
        assert telling.may_tell and telling.due_in_s() is None
        clock.at += STEADY_S + 0.1
    telling.changed()
    clock.at += 0.1
    telling.changed()
    clock.at += 0.9 + STEADY_S
    telling.changed()
    assert not telling.may_tell


def test_an_altering_path_does_not_make_the_number_run_and_an_honest_change_comes_at_once(
    host: ToyHost, device: Device
) -> None:
    host.poll_wait_s = 1.0
    alter, honest, sent = altering(rollout="r9"), host.poll_body, list[int]()

    def altered(assignment: Assignment) -> bytes:
        sent.append(assignment.revision)
        return alter(assignment)

    host.poll_body = altered
    configure(device, timeout_s=LONG_S)
    text = device.config.read_text().replace("retry_first_s = 0.1", "retry_first_s = 3600.0")
    device.config.write_text(text.replace("retry_cap_s = 0.5", "retry_cap_s = 3600.0"))
    host.assign("pi-1", toy=host.publish("1", ToyModelFile()))
    device.start()
    host.wait_for("pi-1", committed(2))  # the first was told at once; this one is told in half an hour or more
    assert device.status()["report"]["assignment"]
    device.order("pin")
    report = host.wait_for("pi-1", lambda r: r.slots["toy"].state == "pinned")
    assert (report.revision_seen, report.assignment) == (2, "")
    device.order("unpin")
    host.wait_for("pi-1", lambda r: r.slots["toy"].state == "serving")
    host.poll_body = honest
    assert host.assignments["pi-1"].revision == 2
    assert host.assign("pi-1", toy=host.publish("2", ToyModelFile(scale=2))) == 3
    host.wait_for("pi-1", committed(3))
    assert device.answer() == 2
    assert sent.count(2) == 1  # and it was not sent in a circle meanwhile


def test_what_was_kept_back_is_told_in_the_end_and_then_all_agree(host: ToyHost, device: Device) -> None:
    honest = host.poll_body
    host.poll_body = altering(rollout="r9")
    host.assign("pi-1", toy=host.publish("1", ToyModelFile()))
    device.start()
    host.wait_for("pi-1", lambda r: r.revision_seen >= 4)
    host.poll_body = honest
    report = host.wait_for(
        "pi-1", lambda r: r.assignment == codec.digest(dump_assignment(host.assignments["pi-1"]))
    )
    assert report.revision_seen == host.assignments["pi-1"].revision
    until(lambda: device.answer() == 1, "the model's answer")
