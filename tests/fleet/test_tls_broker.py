"""A broker over TLS: the control plane and devices believe it when the right authority vouches for it, and else don't."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgelift_fleet.client import Client
from edgelift_fleet.messages import ServerHealth
from tests.fleet.conftest import Server
from tests.fleet.test_simulate import living, roll_out
from tests.simulators.certificates import make_certificate
from tests.waiting import LONG_S, until

pytestmark = [pytest.mark.fleet, pytest.mark.broker]


@dataclass(frozen=True)
class TlsBroker:
    port: int
    certificate: Path
    log: Path
    process: subprocess.Popen[bytes]


@pytest.fixture
def broker(mosquitto_program: str, tmp_path: Path) -> Iterator[TlsBroker]:
    """A mosquitto that lets anyone in, over TLS alone."""
    files = make_certificate(tmp_path / "certificate")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config, log = tmp_path / "mosquitto.conf", tmp_path / "mosquitto.log"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\ncertfile {files.path}\nkeyfile {files.key}\nuser root\n"
    )
    with log.open("wb") as stderr:
        process = subprocess.Popen([mosquitto_program, "-v", "-c", str(config)], stderr=stderr)

    def listens() -> bool:
        with socket.socket() as asked:
            return asked.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(listens)
        yield TlsBroker(port, files.path, log, process)
    finally:
        process.terminate()
        process.wait(LONG_S)


def state(server: Server) -> str:
    return Client(server.url, server.operator).get("/v1/health", ServerHealth).broker


def test_a_release_goes_out_over_tls(site: Path, broker: TlsBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(site, "--broker", f"mqtts://127.0.0.1:{broker.port}?ca={broker.certificate}").start()
    monkeypatch.setenv("SSL_CERT_FILE", str(broker.certificate))  # what devices' system trusts
    try:
        until(lambda: state(server) == "connected")
        with living(server, 3) as boards:
            show = roll_out(server, "digits@1")
            until(lambda: show().state == "done")
            assert boards.figures().running == {"digits@1": 3}
        assert "/up/reported'" in broker.log.read_text()
        broker.process.terminate()
        until(lambda: state(server) == "disconnected")
    finally:
        assert server.stop() == 0


def test_a_broker_that_nobody_vouches_for_is_not_believed(site: Path, broker: TlsBroker, tmp_path: Path) -> None:
    other = make_certificate(tmp_path / "others").path
    server = Server(site, "--broker", f"mqtts://127.0.0.1:{broker.port}?ca={other}").start()
    try:
        until(lambda: "certificate verify failed" in server.log.read_text())
        assert server.log.read_text().count("is not reached: ") == 1
        assert state(server) == "disconnected"
    finally:
        assert server.stop() == 0
