"""Rows of many devices are written in one order, whoever writes them: no two writes wait for each other."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from edgelift_contract import codec
from edgelift_contract.report import Report
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.intake import Intake, Message
from tests.fleet.conftest import both_engines
from tests.fleet.direct import FACTS, Direct, direct

pytestmark = pytest.mark.fleet

#: With names of which a database that sorts by a language thinks otherwise than Python does.
NAMES = [f"{word}{n}" for n in range(40) for word in ("b", "b-", "ba", "b-a")]
ROUNDS = 6


@pytest.fixture
def fleet(site: Path) -> Iterator[Direct]:
    with direct(site) as made:
        yield made


def _seen(fleet: Direct, names: Sequence[str], together: Barrier) -> None:
    """A server writes down whom it has heard of."""
    seen = LastSeen()
    for _ in range(ROUNDS):
        for name in names:
            seen.touch(name, "http")
        together.wait(30)
        seen.flush(fleet.db)


def _reports(fleet: Direct, names: Sequence[str], together: Barrier) -> None:
    """And stores what they report, as it came."""
    intake = Intake(fleet.db, LastSeen())
    for number in range(ROUNDS):
        messages = [
            Message(
                "report",
                name,
                codec.canonical_json(_report(name, 1000 + 2 * number + (names[0] == NAMES[0]))),
                "http",
            )
            for name in names
        ]
        together.wait(30)
        for reply in intake.take(messages):
            assert not isinstance(reply, Exception), reply


def _report(name: str, number: int) -> Report:
    return Report(
        schema=1, device=name, epoch="e", sequence=number, at=1.0, agent_version=f"{number}", facts=FACTS,
        tags={"demo": f"{number}"},
    )  # fmt: skip


@both_engines
def test_writers_of_the_same_devices_in_opposite_order_never_wait_for_each_other(fleet: Direct) -> None:
    fleet.add(*NAMES)
    back, together = list(reversed(NAMES)), Barrier(4)
    with ThreadPoolExecutor(4) as threads:
        done = [
            threads.submit(_seen, fleet, NAMES, together), threads.submit(_seen, fleet, back, together),
            threads.submit(_reports, fleet, NAMES, together), threads.submit(_reports, fleet, back, together),
        ]  # fmt: skip
        for one in done:
            one.result(timeout=120)
