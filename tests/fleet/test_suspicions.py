"""What looks like an attack is told, and nobody fills a log or a memory with it."""

import logging

import pytest

from edgelift_fleet.suspicions import EVERY_S, Suspicions, is_suspicious

pytestmark = pytest.mark.fleet


def test_the_first_is_told_and_the_others_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    told = Suspicions(lambda: now[0])
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            told.note("10.0.0.7", "wrong-device", "It is\nanother.")
        told.note("10.0.0.8", "wrong-device", "It is another.")
        told.note("10.0.0.7", "token-spent", "It is spent.")
        now[0] = EVERY_S
        told.note("10.0.0.7", "wrong-device", "It is another.")
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition(" It ")[0] for line in lines] == [
        "refused address=10.0.0.7 code=wrong-device", "refused address=10.0.0.8 code=wrong-device",
        "refused address=10.0.0.7 code=token-spent", "refused address=10.0.0.7 code=wrong-device",
    ]  # fmt: skip
    assert "\n" not in lines[0] and lines[3].endswith("(4 more since)")


def test_ever_new_addresses_grow_nothing() -> None:
    told = Suspicions()
    for number in range(3000):
        told.note(f"10.0.{number // 256}.{number % 256}", "wrong-device", "x")
    assert len(told._told) == 1000


def test_trouble_on_the_way_is_no_suspicion() -> None:
    assert is_suspicious("wrong-device", enrols=False) and is_suspicious("malformed", enrols=True)
    assert not is_suspicious("malformed", enrols=False) and not is_suspicious("busy", enrols=True)
