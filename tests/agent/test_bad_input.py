"""Wrong input at the device: one clear sentence, a non-zero exit, nothing half-written, no traceback."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from tests.simulators.device import Device
from tests.waiting import LONG_S

from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.ports import free_port
from edgelift_agent.testing.runtime import ToyModelFile


def run_agent(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.run(
        [sys.executable, "-m", "edgelift_agent.cli", "--config", str(config), *(arguments or ("run",))],
        capture_output=True,
        text=True,
        timeout=LONG_S,
        env=environment,
    )


GOOD = """\
device = "pi-1"
state_dir = "{state}"
[host]
url = "http://127.0.0.1:9"
token = "t"
[serve]
port = 0
admin_port = 0
"""

BAD = {
    "no file": (None, "There is no configuration file", "bad-config"),
    "not TOML": ("device = ", "bad-config", "bad-config"),
    "missing field": ('device = "pi-1"\n', "the field `host` is missing", "bad-config"),
    "wrong type": (GOOD.replace("port = 0", 'port = "x"'), "serve.port", "bad-config"),
    "out of range": (GOOD.replace("port = 0", "port = 70000", 1), "serve.port", "bad-config"),
    "unknown field": (GOOD + "porrt = 1\n", "porrt", "bad-config"),
    "no scheme": (GOOD.replace("http://127.0.0.1:9", "127.0.0.1:9"), "host.url", "bad-config"),
    "no token": (GOOD.replace('token = "t"\n', ""), "host.token", "bad-config"),
    "slash in the id": (GOOD.replace("pi-1", "a/b"), "contains '/'", "bad-id"),
    "plus in the id": (GOOD.replace("pi-1", "a+"), "contains '+'", "bad-id"),
    "hash in the id": (GOOD.replace("pi-1", "#"), "contains '#'", "bad-id"),
    "upper case id": (GOOD.replace("pi-1", "Pi"), "contains 'P'", "bad-id"),
    "id too long": (GOOD.replace("pi-1", "a" * 65), "65 characters", "bad-id"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_configuration_is_refused_by_name(tmp_path: Path, case: str) -> None:
    text, words, code = BAD[case]
    config = tmp_path / "agent.toml"
    if text is not None:
        config.write_text(text.replace("{state}", str(tmp_path / "state")))
    done = run_agent(config)
    assert done.returncode == 1
    assert words in done.stderr
    assert f"({code})" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "state").exists()


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-m", "edgelift_agent.cli", "--debug", "--config", str(tmp_path / "no"), "run"],
        capture_output=True, text=True, timeout=LONG_S, env=environment,
    )  # fmt: skip
    assert "Traceback" in done.stderr


def test_a_port_in_use_is_said_plainly(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config.write_text(
            GOOD.replace("{state}", str(tmp_path / "state")).replace("port = 0", f"port = {port}", 1)
        )
        done = run_agent(config)
    assert done.returncode == 1
    assert f"Port {port} on 127.0.0.1 is in use." in done.stderr


def test_two_agents_do_not_share_a_folder(device: Device, host: ToyHost) -> None:
    device.start()
    device.config.write_text(device.config.read_text().replace(str(device.port), str(free_port())))
    done = run_agent(device.config)
    assert done.returncode == 1
    assert "(already-running)" in done.stderr


def test_status_without_an_agent_says_what_to_do(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(GOOD.replace("{state}", str(tmp_path / "state")))
    done = run_agent(config, "status")
    assert done.returncode == 1
    assert "No agent answers" in done.stderr


@pytest.mark.parametrize(
    ("alter", "words"),
    [
        (lambda b: b[: len(b) // 2], "digest"),
        (lambda b: b.replace(b'"schema":1', b'"schema":9'), "schema 9"),
        (lambda b: b.replace(b'"schema":1,', b""), "no readable schema"),
        (lambda b: b.replace(b'"model.onnx"', b'"../model.on"'), "not a plain path"),
        (lambda b: b"[]", "no readable schema"),
    ],
    ids=["truncated", "unknown schema", "missing schema", "path escape", "not a manifest"],
)
def test_a_wrong_manifest_is_refused_and_nothing_changes(host: ToyHost, device: Device, alter, words: str) -> None:
    """The host itself is wrong here: the manifest's own digest matches what was assigned."""
    import msgspec

    from edgelift_contract import codec

    host.assign(device.name, toy=host.publish("1", ToyModelFile()))
    device.start()
    host.wait_for(device.name, lambda r: r.slots.get("toy") and r.slots["toy"].update.outcome == "committed")
    wanted = host.publish("2", ToyModelFile(scale=2))
    data = alter(host.blobs[wanted.artifact])
    if words != "digest":
        wanted = msgspec.structs.replace(wanted, artifact=codec.digest(data), manifest_bytes=len(data))
    host.blobs[wanted.artifact] = data
    host.assign(device.name, toy=wanted)
    if words == "digest":
        # Not of the announced length: to the device somebody else's answer, tried again and again, never installed.
        report = host.wait_for(device.name, lambda r: r.slots["toy"].update.code == "intercepted")
        assert report.slots["toy"].update.outcome == "in-progress"
    else:
        report = host.wait_for(device.name, lambda r: r.slots["toy"].update.outcome == "refused")
        assert words in report.slots["toy"].update.message
    assert device.answer() == 1


def test_requests_that_do_not_fit_get_the_protocols_errors(host: ToyHost, device: Device) -> None:
    host.assign(device.name, toy=host.publish("1", ToyModelFile()))
    device.start()
    host.wait_for(device.name, lambda r: r.slots.get("toy") and r.slots["toy"].update.outcome == "committed")
    base = f"{device.url}/v2/models/toy"
    good = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
    assert requests.post(f"{base}/infer", json=good).status_code == 200
    assert requests.post(f"{base}/versions/1/infer", json=good).status_code == 200
    for path, status in (("versions/9/infer", 404), ("nonsense", 405)):
        answer = requests.post(f"{base}/{path}", json=good)
        assert (answer.status_code, "error" in answer.json()) == (status, True)
    assert requests.post(f"{base}/infer", data=b"{").status_code == 400
    assert requests.post(f"{device.url}/v2/models/none/infer", json=good).status_code == 404
    assert requests.get(f"{device.url}/elsewhere").status_code == 404


def test_a_body_over_the_limit_is_refused_before_it_is_read(host: ToyHost, tmp_path: Path) -> None:
    device = Device(tmp_path / "d", host.url, host.token, serve="max_body_bytes = 2048")
    try:
        host.assign(device.name, toy=host.publish("1", ToyModelFile()))
        device.start()
        with socket.create_connection(("127.0.0.1", device.port)) as sock:
            sock.sendall(b"POST /v2/models/toy/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n")
            assert sock.recv(1000).startswith(b"HTTP/1.1 413")
        chunks = (b"x" * 1000 for _ in range(10))
        assert requests.post(f"{device.url}/v2/models/toy/infer", data=chunks).status_code == 413
    finally:
        device.stop()
