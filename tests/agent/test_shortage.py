"""Descriptors and memory that run short around a real agent: it serves on, says so, and gets well by itself."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import requests
from tests.reports import is_committed
from tests.simulators.device import Device
from tests.waiting import until

from edgelift_agent.admin import ask
from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_agent.update.updates import as_known
from edgelift_contract.assignment import Policy
from edgelift_contract.errors import EdgeliftError

QUICK = Policy(probation_s=0.2)
ONE = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 1, 1, 1]}]}
SHORT = "degraded: part=descriptors code=no-descriptors"


def committed(host: ToyHost, device: Device, version: str) -> None:
    host.assign(device.name, toy=host.publish(version, ToyModelFile(scale=float(version)), policy=QUICK))
    host.wait_for(device.name, lambda r: is_committed(r, version))


@contextmanager
def no_descriptors_left(process: psutil.Process) -> Iterator[None]:
    """The process may open nothing more; what it has open stays."""
    limit = process.rlimit(psutil.RLIMIT_NOFILE)
    process.rlimit(psutil.RLIMIT_NOFILE, (3, limit[1]))
    try:
        yield
    finally:
        process.rlimit(psutil.RLIMIT_NOFILE, limit)


def test_no_descriptors_left(host: ToyHost, device: Device) -> None:
    # The test may pause longer between two requests than a connection may be silent.
    device.config.write_text(device.config.read_text().replace("[serve]\n", "[serve]\nkeep_alive_s = 3600.0\n"))
    device.start()
    committed(host, device, "1")
    assert device.process is not None
    with socket.create_connection(("127.0.0.1", device.port)) as client:
        # A connection that is there goes on being served; a new one can't be accepted without a descriptor.

        def served_and_said() -> bool:
            client.sendall(b"GET /v2/models/toy/ready HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
            return SHORT in device.log.read_text()

        assert not served_and_said()
        with no_descriptors_left(psutil.Process(device.process.pid)):
            until(served_and_said, "the shortage")
    committed(host, device, "2")
    host.wait_for(device.name, lambda r: not r.degraded)
    assert device.answer() == 2.0
    assert device.stop() == 0


def test_an_update_in_a_shortage_is_no_fault_of_the_release(host: ToyHost, device: Device) -> None:
    device.start()
    committed(host, device, "1")
    assert device.process is not None
    with no_descriptors_left(psutil.Process(device.process.pid)):
        host.assign(device.name, toy=host.publish("2", ToyModelFile(scale=2), policy=QUICK))
        until(lambda: SHORT in device.log.read_text(), "the shortage")
    host.wait_for(device.name, lambda r: r.slots["toy"].version == "2" and not r.degraded)
    assert device.answer() == 2.0


@contextmanager
def no_memory_left(process: psutil.Process) -> Iterator[None]:
    """The system gives the process no more; what it has stays, and what it gives back it gets again."""
    limit = process.rlimit(psutil.RLIMIT_AS)
    process.rlimit(psutil.RLIMIT_AS, (64 << 20, limit[1]))
    try:
        yield
    finally:
        process.rlimit(psutil.RLIMIT_AS, limit)


def test_no_memory_left(host: ToyHost, device: Device) -> None:
    device.start()
    committed(host, device, "1")
    assert device.process is not None
    with no_memory_left(psutil.Process(device.process.pid)):
        # Nothing was asked before: no answer may need a thread that can't be begun now. It may need memory.
        for _ in range(4):
            with suppress(requests.RequestException):
                requests.post(f"{device.url}/v2/models/toy/infer", json=ONE, timeout=10)
            with suppress(EdgeliftError):
                ask(device.state / "run" / "admin.sock", "GET", "/status", timeout_s=10)
        # The child that should try it has no memory even for its own modules: that is not the model's fault.
        host.assign(device.name, toy=host.publish("2", ToyModelFile(scale=2), policy=QUICK))
        until(lambda: "code=no-memory" in device.log.read_text(), "the shortage")
    until(lambda: device.answer() is not None, "an answer")
    host.wait_for(device.name, lambda r: is_committed(r, "2") and not r.degraded)
    assert device.answer() == 2.0
    assert device.status()["report"]["slots"]["toy"]["version"] == "2"
    assert device.stop() == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "no-memory"),
        (RuntimeError("can't start new thread"), "no-memory"),
        (OSError(12, "Cannot allocate memory"), "no-memory"),
        (OSError(11, "Resource temporarily unavailable"), "no-memory"),
        (OSError(24, "Too many open files"), "no-descriptors"),
        (OSError(28, "No space left on device"), "disk-full"),
        (OSError(30, "Read-only file system"), "read-only"),
        (OSError(5, "Input/output error"), "disk-error"),
    ],
)
def test_what_the_system_refuses_is_never_the_artifacts_fault(error: BaseException, code: str) -> None:
    known = as_known(error)
    assert known is not None and known.code == code


def test_what_is_not_there_and_what_was_never_raised_by_the_system_are_faults(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        (tmp_path / "no").open()
    assert as_known(missing.value) is None
    assert as_known(ValueError("x")) is None
