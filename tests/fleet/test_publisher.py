"""What is told over a broker: a fault costs no device its news, and what is older is never published over what is newer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from edgelift_contract import routes
from edgelift_contract.codec import digest
from edgelift_contract.errors import TransportError
from edgelift_fleet.mqtt.publisher import Plain, Publisher
from edgelift_fleet.revisions import Latest
from tests.waiting import until

pytestmark = pytest.mark.fleet


class Broker:
    """A connection that takes all, once it may.

    Attributes:
        taken: device → what was published for it, in order.
        may: cleared to have a publication wait.
    """

    def __init__(self) -> None:
        self.taken: dict[str, list[bytes]] = {}
        self.may, self.waits = threading.Event(), threading.Event()
        self.may.set()

    def subscribe(self, *_: Any) -> None:
        pass

    unsubscribe = subscribe

    def publish(self, topic: str, body: bytes, **_: Any) -> None:
        self.waits.set()
        self.may.wait()
        device, _kind = routes.split_topic(topic) or ("", "")
        self.taken.setdefault(device, []).append(body)


class Seals:
    """That can't be asked, as while a database is away."""

    def sealing(self, devices: Collection[str]) -> Callable[[str, bytes], bytes]:
        raise TransportError("busy", f"away, asked for {len(devices)}")

    def standing(self, wanted: Mapping[str, bytes], retained: Mapping[str, bytes]) -> Collection[str]:
        raise RuntimeError(f"a fault of ours, asked for {len(wanted)} of {len(retained)}")


class AwayTwice(Plain):
    """Whose database is away for the first two questions."""

    def __init__(self) -> None:
        self.asked = 0

    def standing(self, wanted: Mapping[str, bytes], retained: Mapping[str, bytes]) -> set[str]:
        self.asked += 1
        if self.asked < 3:
            raise TransportError("busy", "away")
        return super().standing(wanted, retained)


def latest(body: bytes, revision: int = 1) -> Latest:
    return Latest(revision, f'"{revision}"', digest(body), body)


@contextmanager
def publishing(wanted: Mapping[str, Latest], seals: Any, broker: Broker) -> Iterator[Publisher]:
    with Publisher(lambda: wanted, seals) as publisher:
        publisher.connected(broker)  # type: ignore[arg-type]  # plays a client
        yield publisher
        broker.may.set()


def test_what_can_not_be_sealed_is_told_unsealed_and_the_next_thing_too() -> None:
    broker = Broker()
    wanted = {f"pi-{number}": latest(b"first") for number in range(200)}
    with publishing(wanted, Seals(), broker) as publisher:
        until(lambda: len(broker.taken) == 200, "all to be told")
        for _ in range(200):
            publisher.confirmed()
        publisher.tell({"pi-7": latest(b"second", 2)})
        until(lambda: broker.taken["pi-7"] == [b"first", b"second"], "what came next")


def test_what_is_older_is_not_published_over_what_is_newer() -> None:
    broker = Broker()
    broker.may.clear()
    wanted = {f"pi-{number:03d}": latest(b"old") for number in range(100)}
    with publishing(wanted, None, broker) as publisher:
        broker.waits.wait()  # the first of those that differ
        publisher.tell({"pi-099": latest(b"new", 2)})
        broker.may.set()
        until(lambda: len(broker.taken) == 100, "all to be told")
    assert broker.taken["pi-099"] == [b"new"] and broker.taken["pi-000"] == [b"old"]


def test_while_the_database_is_away_no_fleet_is_woken_and_what_differs_is_told_later(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgelift_fleet.mqtt.publisher._AGAIN_S", 0.01)
    broker, seals = Broker(), AwayTwice()
    with publishing({"pi-1": latest(b"same"), "pi-2": latest(b"new")}, seals, broker) as publisher:
        publisher.retained(routes.desired_topic("pi-1"), b"same")
        publisher.retained(routes.desired_topic("pi-2"), b"old")
        until(lambda: broker.taken, "what differs to be told")
        publisher.tell({"pi-1": latest(b"next", 2)})
        until(lambda: "pi-1" in broker.taken, "what came next")
    assert broker.taken == {"pi-1": [b"next"], "pi-2": [b"new"]}
    assert seals.asked == 3
    assert "compared later code=busy" in caplog.text and "a fault" not in caplog.text
