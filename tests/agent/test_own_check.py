"""The device's own check has a say in probation: keeps an update, takes it back, or asks for time; and costs nobody else."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agent.test_bad_input import GOOD
from tests.agent.test_command import lives
from tests.simulators.device import Device
from tests.simulators.updates import ended, observing, outcome, serve_first
from tests.waiting import until

from edgelift_agent.config import load_config
from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract.assignment import Policy
from edgelift_contract.errors import DeviceError
from edgelift_contract.report import Report, UpdateReport

QUICK = Policy(probation_s=0.2, max_latency_ratio=0)
LONG = Policy(probation_s=600, max_latency_ratio=0)


class Check:
    """The check of a device: a script, and what it wrote down.

    Each run adds its process id to `runs`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "camera-ok"

    def says(self, text: str) -> None:
        """Change what it does from now on."""
        new = self.folder / "new"
        new.write_text(f"#!/bin/sh\ncd {self.folder}\necho $$ >>runs\n{text}\n")
        new.chmod(0o755)
        new.replace(self.path)

    @property
    def runs(self) -> list[int]:
        file = self.folder / "runs"
        return [int(word) for word in file.read_text().split()] if file.exists() else []

    def wait_for_run(self, number: int) -> int:
        until(lambda: len(self.runs) >= number, f"run {number} of the check")
        return self.runs[number - 1]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    made = Check(tmp_path)
    made.says("exit 0")
    return made


@pytest.fixture
def checked(host: ToyHost, tmp_path: Path, check: Check) -> Iterator[Device]:
    """A device with that check, which serves version 1."""
    extra = f'check = ["{check.path}", "--slot"]\ncheck_every_s = 1\n'
    device = Device(tmp_path / "d", host.url, host.token, extra=extra)
    try:
        serve_first(host, device)
        yield device
    finally:
        device.stop(signal.SIGKILL)


def assign(host: ToyHost, device: Device, version: str, policy: Policy = QUICK) -> None:
    host.assign(device.name, toy=host.publish(version, ToyModelFile(scale=int(version)), policy=policy))


def update_of(report: Report) -> UpdateReport:
    update = report.slots["toy"].update
    assert update is not None
    return update


def test_it_is_told_what_is_in_probation_and_nothing_secret(host: ToyHost, checked: Device, check: Check) -> None:
    checked.stop()
    checked.environment |= {
        "NOTIFY_SOCKET": "@edgelift-nobody",
        "SECRET": "s",
        "CREDENTIALS_DIRECTORY": "/nowhere",
    }
    checked.start()
    check.says('env >told; echo "$@" >arguments')
    assign(host, checked, "2")
    assert outcome(host, checked, "2") == ("committed", "", "2")
    told = dict(line.partition("=")[::2] for line in (check.folder / "told").read_text().splitlines())
    expected = {
        "EDGELIFT_DEVICE": "pi-1", "EDGELIFT_SLOT": "toy", "EDGELIFT_MODEL": "toy", "EDGELIFT_VERSION": "2",
        "EDGELIFT_VERSION_BEFORE": "1", "EDGELIFT_URL": checked.url,
    }  # fmt: skip
    assert {name: told.get(name) for name in expected} == expected
    assert not {"NOTIFY_SOCKET", "SECRET", "CREDENTIALS_DIRECTORY", "PYTHONPATH"} & told.keys()
    assert (check.folder / "arguments").read_text() == "--slot\n"


#: What the check does → the code, and the end of what the host is told.
REFUSALS = {
    "no": ("echo looking; printf '\\033[31mall black\\007\\033[0m\\n' >&2; exit 1", "check-failed", "all black"),
    "crash": ("kill -SEGV $$", "check-failed", "SIGSEGV"),
    "hang": ("echo opening /dev/video0; exec sleep 1000", "check-hung", "opening /dev/video0"),
    "flood": ("exec yes no", "check-hung", ": no"),
    "gone": ("", "check-not-started", "No such file"),
    "not executable": ("", "check-not-started", "denied"),
}


def test_what_it_refuses_is_taken_back_and_the_host_is_told_its_last_line(
    host: ToyHost, checked: Device, check: Check
) -> None:
    checked.stop()
    checked.config.write_text(checked.config.read_text() + "check_timeout_s = 1\n")
    checked.start()
    for version, (case, (text, code, said)) in enumerate(REFUSALS.items(), 2):
        check.says(text)
        if case == "gone":
            check.path.unlink()
        elif case == "not executable":
            check.path.chmod(0o644)
        assign(host, checked, str(version), LONG)
        assert outcome(host, checked, str(version)) == ("rolled-back", code, "1"), case
        assert said in update_of(host.last(checked.name)).message, case
        assert not any(map(lives, check.runs)), case
    assert checked.answer() == 1
    told = "\n".join(event.message for event in host.of_kind("event"))
    assert "all black�" in told
    assert "\x1b" not in told


def test_not_now_is_waited_for_and_told_meanwhile(host: ToyHost, checked: Device, check: Check) -> None:
    check.says("test -e ready || { echo no picture yet; exit 75; }")
    assign(host, checked, "2")
    report = host.wait_for(checked.name, lambda r: observing("2")(r) and update_of(r).code == "check-undecided")
    assert (update_of(report).outcome, update_of(report).phase) == ("in-progress", "observing")
    assert "no picture yet" in update_of(report).message
    assert checked.answer() == 2
    (check.folder / "ready").touch()
    assert outcome(host, checked, "2") == ("committed", "", "2")
    assert update_of(host.last(checked.name)).message == ""


def test_not_now_is_no_answer_for_ever(host: ToyHost, checked: Device, check: Check) -> None:
    checked.stop()
    checked.config.write_text(checked.config.read_text() + "check_wait_s = 0\n")
    checked.start()
    check.says("echo no picture yet; exit 75")
    assign(host, checked, "2")
    assert outcome(host, checked, "2") == ("rolled-back", "check-undecided", "1")
    assert "no picture yet" in update_of(host.last(checked.name)).message
    assert checked.answer() == 1


def test_it_is_asked_again_while_the_probation_lasts(host: ToyHost, checked: Device, check: Check) -> None:
    check.says("test ! -e broken")
    runs = len(check.runs)
    assign(host, checked, "2", LONG)
    check.wait_for_run(runs + 2)
    (check.folder / "broken").touch()
    assert outcome(host, checked, "2") == ("rolled-back", "check-failed", "1")


def test_while_it_runs_everything_else_goes_on_and_a_newer_wish_ends_it(
    host: ToyHost, checked: Device, check: Check
) -> None:
    check.says("exec sleep 1000")
    runs = len(check.runs)
    assign(host, checked, "2")
    hanging = check.wait_for_run(runs + 1)
    assert checked.answer() == 2
    second = host.publish("1", ToyModelFile(scale=1), policy=QUICK)
    host.assign(checked.name, toy=host.publish("2", ToyModelFile(scale=2), policy=QUICK), other=second)
    until(lambda: checked.answer("other") == 1, "another slot's update")  # in probation, and waits for its turn
    assert lives(hanging)
    check.says("exit 0")
    host.assign(checked.name, toy=host.publish("3", ToyModelFile(scale=3), policy=QUICK), other=second)
    assert outcome(host, checked, "3") == ("committed", "", "3")
    assert not lives(hanging)
    host.wait_for(checked.name, ended("1", "other"))
    assert checked.status()["report"]["slots"]["other"]["update"]["outcome"] == "committed"


def test_an_agent_that_is_stopped_or_killed_while_it_runs_asks_anew(
    host: ToyHost, checked: Device, check: Check
) -> None:
    check.says("exec sleep 1000")
    runs = len(check.runs)
    assign(host, checked, "2")
    first = check.wait_for_run(runs + 1)
    checked.stop()  # in good order: it takes the check with it, and the probation goes on
    assert not lives(first)
    checked.start()
    second = check.wait_for_run(runs + 2)
    checked.stop(signal.SIGKILL)
    check.says("exit 0")
    checked.start()  # no model is trusted that the process ended with; it is tried once more
    host.wait_for(checked.name, lambda r: (update_of(r).outcome, update_of(r).attempts) == ("committed", 2))
    assert len(check.runs) == runs + 3
    assert not lives(second)
    assert checked.answer() == 2


def test_doctor_says_before_an_update_that_it_cannot_be_started(checked: Device, check: Check) -> None:
    def found() -> dict:
        command = [sys.executable, "-m", "edgelift_agent.cli", "--config", str(checked.config), "doctor", "--json"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        (one,) = (finding for finding in json.loads(done.stdout) if finding["check"] == "own check")
        return one

    assert found()["state"] == "ok"
    check.path.chmod(0o644)
    assert (found()["state"], "may run" in found()["message"]) == ("fail", True)


@pytest.mark.parametrize(
    "line", ['check = "ok"', 'check = [""]', 'check = ["./ok"]', 'check = ["a/ok"]', 'check = ["a\\u0000"]',
             "check_timeout_s = 0", "check_timeout_s = 1e9", "check_every_s = 0", "check_wait_s = -1"],
)  # fmt: skip
def test_what_cannot_be_run_or_bounded_is_refused(tmp_path: Path, line: str) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(f"{GOOD}\n[update]\n{line}\n".replace("{state}", str(tmp_path)))
    with pytest.raises(DeviceError, match=r"update\.check") as caught:
        load_config(config)
    assert caught.value.code == "bad-config"


def test_a_program_may_be_named_by_its_path_or_be_looked_for(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    for words in (["/usr/local/bin/camera-ok"], ["camera-ok", "", "-v"], []):
        config.write_text(f"{GOOD}\n[update]\ncheck = {json.dumps(words)}\n".replace("{state}", str(tmp_path)))
        assert load_config(config).update.check == words
