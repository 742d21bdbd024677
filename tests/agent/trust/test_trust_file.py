"""What is trusted, on disks that break: the old or the new, whole; told while it can't be written, and mended after."""

import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tests.simulators.device import Device
from tests.simulators.signer import Signer
from tests.simulators.signing_site import SigningSite
from tests.waiting import until as wait

from edgelift_agent.parts.trust import FRESH_PART, PART, Trust
from edgelift_agent.ports import Committed
from edgelift_agent.system.clock import SystemClock
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.disk import Disk
from edgelift_agent.testing.faults import FaultyDisk
from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_agent.trust.trusted import Trusted, TrustedFile, first
from edgelift_contract.errors import ContractError, EdgeliftError
from edgelift_contract.report import DeviceFacts

ROOTS = {name: data.decode() for name, data in Signer("pi-1").roots().items()}
OLD = first(ROOTS)
NEW = Trusted(files={**OLD.files, "director/timestamp.json": "x" * 3000}, nonce="a" * 32, floor=5.0, heard_at=7.0)


class Part:
    """The agent's part, on a folder and a disk."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self.degraded = Degraded(SystemClock())
        facts = DeviceFacts(hardware_class="arm64-neon")
        self.trust = Trust(folder, disk or Disk(), SystemClock(), self.degraded, "pi-1", lambda: facts, Committed)

    def codes(self) -> dict[str, str]:
        return {one.part: one.code for one in self.degraded.reasons()}


def kept(folder: Path) -> Trusted | None:
    return TrustedFile(folder / "trust.json", Disk()).content


def killed(action: Callable[[], None]) -> bool:
    """Do it in a child; did its disk kill it?"""
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def test_a_power_cut_at_each_write_leaves_the_old_or_the_new_whole(tmp_path: Path) -> None:
    found = []
    for number in range(1, 40):
        folder = tmp_path / str(number)
        folder.mkdir()
        TrustedFile(folder / "trust.json", Disk()).write(OLD)
        disk = FaultyDisk("kill", number)
        if not killed(partial(TrustedFile(folder / "trust.json", disk).write, NEW)):
            break
        found.append(kept(folder))
        Part(folder).trust.look_again()  # both files say the same again
        (folder / "trust.json").unlink()
        assert kept(folder) == found[-1]
    assert len(found) >= 8 and found == sorted(found, key=[OLD, NEW].index) and NEW in found


@pytest.mark.parametrize("fault", ["ENOSPC", "EROFS", "EIO"])
def test_a_disk_that_refuses_is_told_and_mended_and_what_was_learnt_counts_meanwhile(
    tmp_path: Path, fault: str
) -> None:
    for number in range(1, 11):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        mark = tmp_path / f"mark-{number}"
        part = Part(folder, FaultyDisk(fault, number, mark=mark, lasting=True))
        part.trust.learn(ROOTS)
        assert mark.exists() and part.trust.nonce and part.trust.must_be_signed()
        part.trust.look_again()
        assert set(part.codes()) == {PART}
        with pytest.raises(ContractError) as caught:
            part.trust.open(b"{}")
        assert caught.value.code == "not-signed"
        mark.unlink()
        part.trust.look_again()
        assert PART not in part.codes()
        for name in ("trust.json", "second-trust.json"):
            assert (folder / name).exists()
        again = kept(folder)
        assert again is not None and again.nonce == part.trust.nonce


def removed(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def another(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"floor"', b'"flaor"'))


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "x").write_text("x")


SPOILT = [removed, emptied, torn, another, folder_instead]


@pytest.mark.parametrize("spoil", SPOILT)
@pytest.mark.parametrize("names", [("trust.json",), ("second-trust.json",), ("trust.json", "second-trust.json")])
def test_what_is_spoilt_under_an_agent_is_written_again(
    tmp_path: Path, spoil: Callable[[Path], None], names: tuple[str, ...]
) -> None:
    part = Part(tmp_path)
    part.trust.learn(ROOTS)
    before = (tmp_path / "trust.json").read_bytes()
    for name in names:
        spoil(tmp_path / name)
    part.trust.look_again()
    assert part.codes() == {}
    assert [(tmp_path / name).read_bytes() for name in ("trust.json", "second-trust.json")] == [before, before]


@pytest.mark.parametrize("spoil", [spoil for spoil in SPOILT if spoil is not another])
def test_what_is_spoilt_while_no_agent_runs_the_second_file_knows(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    part = Part(tmp_path)
    part.trust.learn(ROOTS)
    spoil(tmp_path / "trust.json")
    again = Part(tmp_path)
    assert again.trust.nonce == part.trust.nonce and again.codes() == {}
    again.trust.look_again()
    assert kept(tmp_path) is not None and again.codes() == {}


def test_where_both_are_lost_nothing_is_taken_until_a_person_takes_them_away(tmp_path: Path) -> None:
    Part(tmp_path).trust.learn(ROOTS)
    for name in ("trust.json", "second-trust.json"):
        torn(tmp_path / name)
    part = Part(tmp_path)
    part.trust.learn(ROOTS)  # whoever answers the enrolment now
    assert part.codes() == {PART: "state-damaged"} and not part.trust.nonce and part.trust.must_be_signed()
    with pytest.raises(EdgeliftError) as caught:
        part.trust.open(b"{}")
    assert caught.value.code == "state-damaged"
    for name in ("trust.json", "second-trust.json"):
        removed(tmp_path / name)
    part.trust.look_again()
    part.trust.learn(ROOTS)
    assert PART not in part.codes() and part.trust.nonce


def test_what_a_draft_wrote_is_read(tmp_path: Path) -> None:
    """Before there was a second file and a time of the last answer."""
    TrustedFile(tmp_path / "trust.json", Disk()).write(OLD)
    (tmp_path / "second-trust.json").unlink()
    part = Part(tmp_path)
    assert part.trust.nonce == OLD.nonce
    part.trust.look_again()
    assert (tmp_path / "second-trust.json").read_bytes() == (tmp_path / "trust.json").read_bytes()
    assert FRESH_PART not in part.codes()


def test_a_device_whose_disk_refuses_as_it_learns_is_told_of_and_goes_on_when_it_is_mended(
    host: ToyHost, device: Device, tmp_path: Path
) -> None:
    SigningSite(host).begin()
    host.assign("pi-1", toy=host.publish("1", ToyModelFile()))
    mark = tmp_path / "mark"
    fault = ("--fault", "EROFS", "--at", "idle/open .trust.json.tmp/1", "--mark", str(mark), "--lasting")
    device.start(*fault)
    host.wait_for("pi-1", lambda r: any((one.part, one.code) == (PART, "read-only") for one in r.degraded))
    assert "slots" not in device.status()["report"]
    mark.unlink()
    host.wait_for("pi-1", lambda r: "toy" in r.slots and r.slots["toy"].version == "1" and not r.degraded)
    wait((device.state / "second-trust.json").exists)


@pytest.mark.parametrize(
    "point",
    ["rename trust.json/1", "write .trust.json.tmp/2", "rename trust.json/2", "rename second-trust.json/2"],
)
def test_a_power_cut_while_an_assignment_is_taken_costs_nothing(
    host: ToyHost, device: Device, tmp_path: Path, point: str
) -> None:
    SigningSite(host).begin()
    host.assign("pi-1", toy=host.publish("1", ToyModelFile()))
    mark = tmp_path / "mark"
    device.start("--fault", "kill", "--at", f"idle/{point}", "--mark", str(mark), wait=False)
    wait(mark.exists)
    assert device.process is not None
    device.process.wait()
    device.start()
    host.wait_for("pi-1", lambda r: "toy" in r.slots and r.slots["toy"].version == "1")
    assert kept(device.state) is not None


def test_who_mends_waits_for_who_writes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mending: list[threading.Thread] = []

    class Watched(Disk):
        def write_file(self, path: Path, data: bytes, *, private: bool = False) -> None:
            if not mending and file.content == OLD:
                mending.append(threading.Thread(target=file.mend))
                mending[0].start()
                mending[0].join(0.2)
            super().write_file(path, data, private=private)

    TrustedFile(tmp_path / "trust.json", Disk()).write(OLD)
    file = TrustedFile(tmp_path / "trust.json", Watched())
    file.write(NEW)
    mending[0].join()
    assert not caplog.records and kept(tmp_path) == NEW
