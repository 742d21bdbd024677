"""Portals, proxies, caches and bad links between a real agent and its host: whatever they answer, nothing is refused but
by digest and nothing is lost, and the next honest answer heals."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.simulators.device import Device
from tests.simulators.proxy import TRICKS, HostileProxy
from tests.waiting import until

from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract.manifest import parse_manifest

#: What is played in one update, on every route.
FAMILIES = {
    "portals": [
        "302 to a portal", "307 to a portal", "301 without an end", "200 with HTML", "200 with nothing", "204",
        "304 of somebody's", "511 page",
    ],
    "proxies": [
        "401 page", "403 page", "404 page", "407", "408", "410 page", "425", "451 page", "500 page", "502 page",
        "503 with Retry-After", "429 with Retry-After",
    ],
    "other programs": [
        "JSON of another program", "JSON that looks like ours", "404 in JSON", "400 in JSON", "another protocol", "cached",
    ],
    "cut": ["hung up", "cut at 0", "cut at 1 B", "cut at 40 KB", "cut at 1 MB", "cut at 1 KB", "ranges ignored"],
    "lengths": ["altered", "truncated", "shorter than announced", "gzip"],
    "endless": ["endless", "endless page", "endless blob"],
    "slow": ["endless headers", "silent", "slow"],
}  # fmt: skip
#: What does nothing to a short answer is played on the model alone.
LARGE_ONLY = {"cut at 40 KB", "cut at 1 MB", "ranges ignored"}
ROUTES = ("enrol", "desired", "report", "telemetry")
EXTRA = """
[telemetry]
window_s = 0.5
publish_interval_s = 0.5
probation_window_s = 0.5
"""


class Setup:
    """A device that reaches its host through a hostile proxy."""

    def __init__(self, folder: Path) -> None:
        self.host = ToyHost()
        self.host.poll_wait_s = 1.0
        self.proxy = HostileProxy(("127.0.0.1", self.host.port))
        self.device = Device(folder, self.proxy.url, self.host.token, extra=EXTRA)
        text = self.device.config.read_text().replace("[serve]", "timeout_s = 1.0\n[serve]")
        self.device.config.write_text(
            text.replace("retry_first_s = 0.1", "retry_first_s = 0.05").replace(
                "retry_cap_s = 0.5", "retry_cap_s = 0.1"
            )
        )
        self.version = self.answered = 0

    def publish(self, *, padding: int = 0):
        self.version += 1
        return self.host.publish(str(self.version), ToyModelFile(scale=self.version), padding=padding)

    def committed(self, version: int) -> bool:
        def done(report) -> bool:
            slot = report.slots.get("toy")
            return slot is not None and slot.version == str(version) and slot.update.outcome == "committed"

        self.host.wait_for("pi-1", done)
        return self.device.answer() == version

    def infer(self, count: int) -> None:
        for _ in range(count):
            assert self.device.infer([1, 1, 1, 1]).ok
            self.answered += 1

    def peak_bytes(self) -> int:
        status = Path(f"/proc/{self.device.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024

    def delivered(self) -> int:
        return sum(window.ok + window.errors for window in self.host.of_kind("window"))

    def close(self) -> None:
        process = self.device.process
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
        self.proxy.close()
        self.host.close()


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    made = Setup(tmp_path_factory.mktemp("hostile"))
    made.host.assign("pi-1", toy=made.publish())
    made.device.start()
    assert made.committed(1)
    made.answered += 1
    yield made
    made.close()


def test_every_trick_is_played() -> None:
    assert sorted(trick for tricks in FAMILIES.values() for trick in tricks) == sorted(set(TRICKS) - {"honest"})


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_on_the_way_refuses_or_loses_anything(setup: Setup, family: str) -> None:
    host, proxy, device, tricks = setup.host, setup.proxy, setup.device, FAMILIES[family]
    peak_before = setup.peak_bytes()
    wanted = setup.publish(padding=1_200_000 if family == "cut" else 60_000 if family != "slow" else 2_000)
    model = parse_manifest(host.blobs[wanted.artifact]).model_file.sha256
    proxy.plan(model, tricks)
    for route in (*ROUTES, wanted.artifact):
        proxy.plan(route, [trick for trick in tricks if trick not in LARGE_ONLY])
    host.enrolled.discard("pi-1")  # it must enrol again, through the same tricks
    host.assign("pi-1", toy=wanted)
    setup.infer(5)
    assert setup.committed(setup.version), proxy.left()
    setup.answered += 1
    proxy.wait_played()
    setup.infer(5)
    until(lambda: setup.delivered() == setup.answered, "the telling of every request")
    until(lambda: device.status()["waiting_items"] == 0, "the sending of all telemetry")
    ended = {event.kind for event in host.of_kind("event")} & {"update-refused", "rolled-back", "inconsistent"}
    assert not ended
    with host.changed:  # it goes on coming
        numbers = sorted(seq for _, _, seq in host.items)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "an item was lost"
    assert "Traceback" not in device.log.read_text()
    if family == "endless":
        assert max(proxy.endless_bytes) < 60_000_000  # what sockets buffer, not what was offered
        assert setup.peak_bytes() < peak_before + 30_000_000


def test_wrong_bytes_three_times_refuse_and_asking_again_heals(setup: Setup) -> None:
    host, proxy = setup.host, setup.proxy
    wanted = setup.publish(padding=3_000)
    # More than three: on a busy machine one of them may come too late to be counted.
    proxy.plan(wanted.artifact, ["altered"] * 30)
    serving = setup.device.answer()
    host.assign("pi-1", toy=wanted)
    report = host.wait_for(
        "pi-1",
        lambda r: (
            r.slots["toy"].update.version == str(setup.version) and r.slots["toy"].update.outcome == "refused"
        ),
    )
    assert report.slots["toy"].update.code == "digest-mismatch"
    assert proxy.forget(wanted.artifact) <= 27
    assert setup.device.answer() == serving
    host.assign("pi-1", toy=wanted)
    assert setup.committed(setup.version)
