"""A token's file that gives no token now: what is committed serves, it is said, and the link gets well by itself.

Real processes, and files that the kernel itself refuses.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.agent.test_degraded import fresh, serves
from tests.simulators.device import Device
from tests.waiting import until

from edgelift_agent.testing.host import ToyHost


def loop(name: Path) -> None:
    name.symlink_to(name)


def unreadable(name: Path) -> None:
    """Opens, and fails with EIO when read, for root too."""
    name.symlink_to("/proc/self/mem")


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "I/O error": (unreadable, "disk-error"),
    "missing": (lambda name: None, "not-found"),
    "folder": (Path.mkdir, "disk-error"),
    "loop": (loop, "disk-error"),
    "pipe": (os.mkfifo, "bad-config"),
    "empty": (lambda name: name.write_bytes(b""), "bad-config"),
    "blank": (lambda name: name.write_bytes(b" \n"), "bad-config"),
    "zeros": (lambda name: name.write_bytes(bytes(64)), "bad-config"),
    "no text": (lambda name: name.write_bytes(b"\xff\xfe secret"), "bad-config"),
    "two lines": (lambda name: name.write_bytes(b"secret\nsecond"), "bad-config"),
}


def replace(name: Path, token: str) -> None:
    if name.is_dir() and not name.is_symlink():
        name.rmdir()
    made = name.with_name("token.new")
    made.write_text(token + "\n")
    made.replace(name)


def by_file(device: Device) -> Path:
    name = device.folder / "token"
    text = device.config.read_text()
    device.config.write_text(text.replace(f'token = "{ToyHost.token}"', f'token_file = "{name}"'))
    return name


def said(device: Device) -> dict[str, str]:
    return {reason["part"]: reason["code"] for reason in device.status()["report"].get("degraded", [])}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_committed_serves_until_the_token_can_be_read(host: ToyHost, device: Device, fault: str) -> None:
    break_it, code = FAULTS[fault]
    fresh(host, "1", 2.0)
    device.start()
    host.wait_for(device.name, lambda r: serves(r, "1") and r.slots["toy"].update.outcome == "committed")
    device.stop()
    fresh(host, "2", 3.0)
    name = by_file(device)
    break_it(name)
    device.start()
    assert device.answer() == 2.0
    until(lambda: said(device) == {"token": code}, "the fault to be said")
    assert device.status()["transport"] == "none"
    replace(name, host.token)
    host.wait_for(device.name, lambda r: serves(r, "2") and not r.degraded)
    assert device.answer() == 3.0
    assert said(device) == {}
    device.stop()
    assert "secret" not in device.log.read_text()


def test_a_token_that_the_host_refuses_is_read_again(host: ToyHost, device: Device) -> None:
    fresh(host, "1", 2.0)
    name = by_file(device)
    replace(name, host.token[:-1])
    device.start()
    until(lambda: "not-authorised" in device.log.read_text(), "the host's refusal")
    replace(name, host.token)
    host.wait_for(device.name, lambda r: serves(r, "1"))


def test_a_token_once_read_outlives_its_file(host: ToyHost, device: Device) -> None:
    name = by_file(device)
    replace(name, host.token)
    fresh(host, "1", 2.0)
    device.start()
    host.wait_for(device.name, lambda r: serves(r, "1"))
    name.unlink()
    fresh(host, "2", 3.0)
    host.wait_for(device.name, lambda r: serves(r, "2"))
    assert said(device) == {}
