"""The updates that are broken, when each is over, and what may serve then."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.crashing.rig import DEVICE, Rig
from edgelift_agent.testing.host import LONG_S
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract.assignment import Policy, SlotAssignment
from edgelift_contract.report import Report

QUICK = Policy(probation_s=0.2, probation_min_requests=2)
GOOD_1, GOOD_2 = ToyModelFile(scale=1), ToyModelFile(scale=2)
PADDING = 1_500_000
ENDED = ("committed", "refused", "rolled-back", "inconsistent", "superseded")


@dataclass(frozen=True)
class Scenario:
    """An update to break.

    `begin` publishes and assigns; `order` is a command for the running agent; `serves` are the versions that may
    serve in the end; `prepared` versions are installed one after the other beforehand; `meanwhile` are those that
    may serve on the way, "" among them where nothing may; `followed` by a second wish.
    """

    name: str
    prepared: tuple[ToyModelFile, ...]
    begin: Callable[[Rig], None]
    serves: frozenset[str]
    meanwhile: frozenset[str]
    order: str = ""
    followed: bool = False
    requests: bool = False


def _assign(version: str, file: ToyModelFile, **options: object) -> Callable[[Rig], None]:
    def begin(rig: Rig) -> None:
        wanted = rig.host.publish(version, file, padding=PADDING, **{"policy": QUICK, **options})
        rig.host.assign(DEVICE, toy=wanted)

    return begin


def _followed(rig: Rig, first: SlotAssignment, second: SlotAssignment) -> None:
    """A second wish follows while the first is being fetched: at a certain byte, or when that never comes."""
    host = rig.host
    host.assign(DEVICE, toy=first)
    host.faults.delay_s = 0.03

    def follow() -> None:
        late = time.monotonic() + 30
        while host.served_bytes < 400_000 and time.monotonic() < late and not rig.closed:
            time.sleep(0.005)
        host.assign(DEVICE, toy=second)
        time.sleep(0.3)
        host.faults.delay_s = 0.0

    threading.Thread(target=follow, daemon=True).start()


def _supersede(rig: Rig) -> None:
    """Another release is wanted."""
    second = rig.host.publish("2", GOOD_2, padding=PADDING, policy=QUICK)
    _followed(rig, second, rig.host.publish("3", ToyModelFile(scale=3), padding=PADDING // 4, policy=QUICK))


def _amend(rig: Rig) -> None:
    """The same release is wanted in other words: with a shorter probation."""
    wanted = rig.host.publish("2", GOOD_2, padding=PADDING, policy=QUICK)
    _followed(rig, msgspec.structs.replace(wanted, policy=Policy(probation_s=2.0)), wanted)


def _scenarios() -> dict[str, Scenario]:
    bad_service = ToyModelFile(scale=2, on_run="fail", only_in_service=True, after=8)
    watched = Policy(probation_s=60, probation_min_requests=2)  # its failures end it, however slowly they come
    older = Policy(probation_s=0.2, allow_older=True)
    one, two, both = frozenset("1"), frozenset("2"), frozenset("12")
    all_of_them = [
        Scenario("install", (), _assign("1", GOOD_1), one, one | {""}),
        Scenario("update", (GOOD_1,), _assign("2", GOOD_2), two, both),
        Scenario("rollback", (GOOD_1, GOOD_2), _assign("1", GOOD_1, policy=older), one, both),
        Scenario("rollback-by-hand", (GOOD_1, GOOD_2), lambda _: None, both, both, order="rollback"),
        Scenario("emptied", (GOOD_1,), lambda rig: rig.host.assign(DEVICE) and None, frozenset(), one | {""}),
        Scenario("superseded", (GOOD_1,), _supersede, frozenset("3"), frozenset("123"), followed=True),
        Scenario("amended", (GOOD_1,), _amend, two, both, followed=True),
        Scenario("preflight-fails", (GOOD_1,), _assign("2", GOOD_2, golden_offset=1.0), one, one),
        Scenario(
            "probation-fails", (GOOD_1,), _assign("2", bad_service, policy=watched), one, both, requests=True
        ),
    ]
    return {scenario.name: scenario for scenario in all_of_them}


SCENARIOS = _scenarios()


def prepare(scenario: Scenario, folder: Path) -> None:
    """A device folder in which `scenario.prepared` were installed, cleanly stopped."""
    rig = Rig(folder)
    try:
        if scenario.prepared:
            rig.start()
        for number, file in enumerate(scenario.prepared, 1):
            _assign(str(number), file)(rig)
            if not rig.wait(lambda: settled(rig), LONG_S):
                raise RuntimeError(f"{scenario.name} could not be prepared:\n{Path(rig.log).read_text()[-4000:]}")
    finally:
        rig.close()


def begin(rig: Rig, scenario: Scenario) -> None:
    """Bring a fresh host to where it was: what the device has installed, then the new wish."""
    for number, file in enumerate(scenario.prepared, 1):
        _assign(str(number), file)(rig)
    scenario.begin(rig)


def settled(rig: Rig, scenario: Scenario | None = None) -> bool:
    """The newest assignment was carried out, or the order was, and the host knows."""
    report = rig.host.last(DEVICE)
    wanted = rig.host.assignments.get(DEVICE)
    if report is None or wanted is None or report.revision_applied != wanted.revision:
        return False
    if not wanted.slots:
        return "toy" not in report.slots
    slot = report.slots.get("toy")
    if slot is None or slot.update is None or slot.update.outcome not in ENDED:
        return False
    if scenario is not None and scenario.followed and wanted.revision < 3:
        return False  # the second wish is still to come
    return slot.state == "pinned" or scenario is None or not scenario.order


def judge(rig: Rig, scenario: Scenario, *, done: bool) -> list[str]:
    """Every way in which an end state is bad; none for a good one."""
    # The last report may still be on its way when the state changes: give it a moment to be the last.
    rig.wait(lambda: _consistent(rig) or not scenario.serves, LONG_S)
    faults = [] if done else ["the update did not end"]
    if not scenario.serves:
        return faults + (["something serves"] if rig.answer() is not None else [])
    faults += serving_faults(rig, scenario.serves)
    if not _consistent(rig):
        faults.append(f"the host was told {_told(rig.host.last(DEVICE))} while {rig.answer()} serves")
    return faults


def serving_faults(rig: Rig, allowed: frozenset[str]) -> list[str]:
    """What is wrong with the answer of this moment; "" in `allowed` says that nothing need serve."""
    answer = rig.answer()
    if answer is None:
        return [] if "" in allowed else ["nothing serves"]
    if answer[0] != float(answer[1]):
        return [f"the answer {answer[0]} is not version {answer[1]}'s"]
    return [] if answer[1] in allowed else [f"version {answer[1]} serves"]


def _consistent(rig: Rig) -> bool:
    answer, report = rig.answer(), rig.host.last(DEVICE)
    slot = report.slots.get("toy") if report else None
    if answer is None or slot is None or slot.update is None or slot.version != answer[1]:
        return False
    committed = slot.update.outcome == "committed"
    return slot.update.version == answer[1] if committed else slot.update.outcome in ENDED


def _told(report: Report | None) -> str:
    slot = report.slots.get("toy") if report else None
    update = slot.update if slot else None
    return f"{slot.version if slot else None} {update.outcome if update else None} {update.code if update else ''}"
