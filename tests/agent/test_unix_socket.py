"""The inference server's UNIX socket: where it can't be had, requests are answered over TCP, and it is said."""

import socket
import time
from pathlib import Path

import pytest
from tests.agent.test_degraded import NO_RESERVE, degraded_said, fresh, serves
from tests.simulators.device import Device
from tests.simulators.small_disk import small_disk

from edgelift_agent.system.sockets import short_name
from edgelift_agent.testing.host import ToyHost


def answers(path: Path) -> bool:
    """Waits until something answers at a socket's name."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with socket.socket(socket.AF_UNIX) as sock, short_name(path) as name:
                sock.connect(name)
                sock.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                return sock.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            time.sleep(0.05)
    return False


def parts(device: Device) -> list[str]:
    return [reason["part"] for reason in device.status()["report"].get("degraded", [])]


def wait_well(device: Device) -> None:
    deadline = time.monotonic() + 60
    while parts(device):
        assert time.monotonic() < deadline, parts(device)
        time.sleep(0.05)


def test_an_address_that_the_machine_has_not_yet_keeps_nothing_else_from_working(
    host: ToyHost, tmp_path: Path
) -> None:
    missing = "192.0.2.77"  # RFC 5737: nobody's
    name = tmp_path / "infer.sock"
    device = Device(tmp_path / "device", host.url, host.token, serve=f'host = "{missing}"\nunix_socket = "{name}"')
    device.start(wait=False)
    try:
        fresh(host, "1", 1)
        host.wait_for("pi-1", lambda r: serves(r, "1") and [one.part for one in r.degraded] == ["serve-address"])
        assert answers(name)
        assert device.stop() == 0
    finally:
        if device.process is not None and device.process.poll() is None:
            device.process.kill()
            device.process.wait()


def test_on_a_card_that_is_read_only_at_the_start(host: ToyHost, tmp_path: Path) -> None:
    name = tmp_path / "device" / "state" / "infer.sock"
    with small_disk(name.parent) as card:
        device = Device(
            tmp_path / "device", host.url, host.token, extra=NO_RESERVE, serve=f'unix_socket = "{name}"'
        )
        device.within, device.seen = card.within, card.inside
        try:
            device.start()
            fresh(host, "1", 2.0)
            host.wait_for(device.name, lambda r: serves(r, "1") and r.slots["toy"].update.outcome == "committed")
            device.stop()
            card.read_only()
            device.start()
            assert device.answer() == 2.0
            assert "unix-socket" in parts(device)
            assert set(degraded_said(host, device)) == {"read-only"}
            card.writable()
            wait_well(device)
            assert answers(card.inside / name.name)
        finally:
            device.stop()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_no_socket_is_left_alone(host: ToyHost, tmp_path: Path, kind: str) -> None:
    name = tmp_path / "own"
    name.write_text("of somebody else") if kind == "file" else name.mkdir()
    device = Device(tmp_path / "device", host.url, host.token, serve=f'unix_socket = "{name}"')
    try:
        device.start()
        assert parts(device) == ["unix-socket"]
        if kind == "file":
            assert name.read_text() == "of somebody else"
            name.unlink()
        else:
            assert name.is_dir()
            name.rmdir()
        wait_well(device)
        assert answers(name)
    finally:
        device.stop()
    assert not name.exists()
