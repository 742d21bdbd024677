"""Degraded, not dead: a disk that is full, read-only or broken never keeps a committed model from serving.

Real processes. The first half on real file systems that the kernel itself refuses to write; the second half with
faults injected from the very first operation of the process.
"""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from tests.simulators.device import Device
from tests.simulators.small_disk import SmallDisk, small_disk
from tests.waiting import LONG_S, until

from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract.assignment import Policy
from edgelift_contract.report import Report

QUICK = Policy(probation_s=0.2)
#: Room on the small disk for two versions, not for a reserve.
NO_RESERVE = "disk_reserve_bytes = 0\n"


def fresh(host: ToyHost, version: str, scale: float, **options: object) -> int:
    return host.assign("pi-1", toy=host.publish(version, ToyModelFile(scale=scale), policy=QUICK, **options))


def serves(report: Report, version: str) -> bool:
    return "toy" in report.slots and report.slots["toy"].version == version


def degraded_said(host: ToyHost, device: Device) -> list[str]:
    """What this process says is broken: waits until status, health and the host's last report name the same.

    They are read one after the other, while the agent looks again and again at what is broken: now and then a part
    works for a moment, so that two looks may differ.
    """
    codes: list[str] = []

    def agreed() -> bool:
        status = device.status()
        codes[:] = [reason["code"] for reason in status["report"].get("degraded", [])]
        health = requests.get(f"http://127.0.0.1:{status['admin_port']}/health", timeout=LONG_S).json()
        assert health["live"] is True
        report = host.last(device.name)
        return (
            bool(codes)
            and [reason["code"] for reason in health["degraded"]] == codes
            and report is not None
            and report.epoch == status["report"]["epoch"]
            and [reason.code for reason in report.degraded] == codes
        )

    until(agreed, "status, health and host that name the same faults")
    return codes


FAULTS: dict[str, tuple[str, Callable[[SmallDisk], None], Callable[[SmallDisk], None], set[str]]] = {
    "full": ("size=6m", SmallDisk.fill, SmallDisk.clear, {"disk-full"}),
    "no-inodes": ("size=6m,nr_inodes=120", SmallDisk.use_up_names, SmallDisk.clear, {"disk-full"}),
    "read-only": ("size=6m", SmallDisk.read_only, SmallDisk.writable, {"read-only"}),
}


@pytest.fixture(params=sorted(FAULTS))
def fault(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def card(fault: str, tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "device" / "state", FAULTS[fault][0]) as disk:
        yield disk


@pytest.fixture
def on_card(host: ToyHost, card: SmallDisk, tmp_path: Path) -> Iterator[Device]:
    device = Device(tmp_path / "device", host.url, host.token, extra=NO_RESERVE, retry_cap_s=0.1)
    device.within, device.seen = card.within, card.inside
    yield device
    if device.process is not None and device.process.poll() is None:
        device.process.kill()
        device.process.wait()


def test_a_card_that_breaks_under_a_running_agent_and_mends(
    host: ToyHost, card: SmallDisk, on_card: Device, fault: str
) -> None:
    _, break_it, mend, codes = FAULTS[fault]
    fresh(host, "1", 1)
    on_card.start()
    host.wait_for("pi-1", lambda r: serves(r, "1") and r.revision_applied == 1)
    break_it(card)
    # Far more than a stop gives back when it takes the database's log into the database.
    fresh(host, "2", 2, padding=1_500_000)
    host.wait_for("pi-1", lambda r: r.degraded)
    assert set(degraded_said(host, on_card)) <= codes
    assert on_card.answer() == 1.0
    for how in (signal.SIGTERM, signal.SIGKILL):
        code = on_card.stop(how)
        assert code == (0 if how == signal.SIGTERM else -signal.SIGKILL)
        on_card.start()
        assert on_card.answer() == 1.0  # the first request that is taken at all
        # Told by this process, which its epoch names: it may have reported before anybody asks here.
        epoch = on_card.status()["report"]["epoch"]
        host.wait_for("pi-1", lambda r, now=epoch: r.epoch == now and r.degraded)
        assert set(degraded_said(host, on_card)) <= codes
    mend(card)
    host.wait_for("pi-1", lambda r: serves(r, "2") and not r.degraded)
    assert on_card.answer() == 2.0
    assert on_card.stop() == 0


@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EROFS"])
@pytest.mark.parametrize("prepared", [True, False])
def test_a_disk_that_is_broken_from_the_first_operation_on(
    host: ToyHost, device: Device, error: str, prepared: bool
) -> None:
    mark = device.folder / "struck"
    fresh(host, "1", 1)
    if prepared:
        device.start()
        host.wait_for("pi-1", lambda r: serves(r, "1") and r.revision_applied == 1)
        device.stop()
    device.start("--fault", error, "--at", "1", "--mark", str(mark), "--lasting")
    assert mark.exists()
    if prepared:
        assert device.answer() == 1.0
    host.wait_for("pi-1", lambda r: r.degraded)
    assert degraded_said(host, device)
    fresh(host, "2", 2)
    mark.unlink()
    host.wait_for("pi-1", lambda r: serves(r, "2") and not r.degraded)
    assert device.answer() == 2.0
    assert device.stop() == 0
