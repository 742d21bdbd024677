"""The configuration file and what it names, in odd forms; and what a command prints to that takes nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.agent.test_bad_input import GOOD, run_agent
from tests.simulators.device import Device

from edgelift_agent.config import load_config, read_token
from edgelift_agent.testing.host import ToyHost
from edgelift_contract.errors import DeviceError

URL = "http://127.0.0.1:9"


def written(folder: Path, text: str) -> Path:
    config = folder / "agent.toml"
    config.write_bytes(text.replace("{state}", str(folder / "state")).encode())
    return config


@pytest.mark.parametrize(
    "url", ["http://", "http://:80", "http://a b", "http://[::1", "http://a:99999", "http://a:0", "http://a:x",
            "http://a/?b", "http://a/#b", "http://user:word@a", "ftp://a", ""],
)  # fmt: skip
def test_an_address_that_none_can_be_asked_at(tmp_path: Path, url: str) -> None:
    with pytest.raises(DeviceError, match=r"host\.url") as caught:
        load_config(written(tmp_path, GOOD.replace(URL, url)))
    assert caught.value.code == "bad-config"


@pytest.mark.parametrize("url", [URL, "https://a.b", "http://[::1]:80", "http://a:1/below/"])
def test_an_address_that_some_can_be_asked_at(tmp_path: Path, url: str) -> None:
    assert load_config(written(tmp_path, GOOD.replace(URL, url))).host.url == url
    louder = url.replace("http", "HTTP").replace("HTTPs", "HTTPS")
    assert load_config(written(tmp_path, GOOD.replace(URL, louder))).host.url == url


SERVE, TELEMETRY, UPDATE = "", "[telemetry]\n", "[update]\n"


@pytest.mark.parametrize("value", ["inf", "nan", "1e300", "0", "-1"])
@pytest.mark.parametrize(
    ("section", "field"),
    [(SERVE, "keep_alive_s"), (SERVE, "drain_timeout_s"), (TELEMETRY, "window_s"), (UPDATE, "retry_cap_s")],
)
def test_a_time_that_no_clock_can_wait(tmp_path: Path, section: str, field: str, value: str) -> None:
    with pytest.raises(DeviceError, match=field):
        load_config(written(tmp_path, f"{GOOD}{section}{field} = {value}\n"))


def test_every_interface_is_asked_for_by_name_only(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"serve\.host"):
        load_config(written(tmp_path, GOOD + 'host = ""\n'))


@pytest.mark.parametrize("field", ["unix_socket", "state_dir"])
def test_a_name_that_no_file_can_have(tmp_path: Path, field: str) -> None:
    text = GOOD + 'unix_socket = "a\\u0000"\n' if field == "unix_socket" else GOOD.replace("{state}", "a\\u0000")
    with pytest.raises(DeviceError, match=field):
        load_config(written(tmp_path, text))


def test_the_file_is_utf_8_in_every_locale_and_may_say_so(tmp_path: Path) -> None:
    config = written(tmp_path, "\ufeff" + GOOD.replace("[host]", 'tags = { place = "Köln" }\n[host]', 1))
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    text = "import sys; from pathlib import Path; from edgelift_agent.config import load_config\n"
    text += "print(ascii(load_config(Path(sys.argv[1])).tags))"
    done = subprocess.run(
        [sys.executable, "-c", text, config], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stdout == "{'place': 'K\\xf6ln'}\n", done.stderr


@pytest.mark.parametrize("token", ["sécret", "secret\\nsecond", " "])
def test_a_token_that_is_none_is_refused_and_not_told(tmp_path: Path, token: str) -> None:
    done = run_agent(written(tmp_path, GOOD.replace('token = "t"', f'token = "{token}"')))
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (1, 1)
    assert "(bad-config)" in done.stderr
    assert "token" in done.stderr
    assert "cret" not in done.stderr


def test_no_token_at_all_is_wrong_in_the_configuration(tmp_path: Path) -> None:
    done = run_agent(written(tmp_path, GOOD.replace('token = "t"', "")))
    assert (done.returncode, done.stderr.count("(bad-config)")) == (1, 1)


def test_a_tokens_last_line_may_end(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"secret\r\n")
    config = written(tmp_path, GOOD.replace('token = "t"', f'token_file = "{tmp_path / "token"}"'))
    assert read_token(load_config(config)) == "secret"


def test_what_is_printed_to_nobody_or_to_a_full_disk_is_no_fault_of_the_agent(
    host: ToyHost, device: Device
) -> None:
    device.start()
    command = [sys.executable, "-m", "edgelift_agent.cli", "--config", str(device.config), "status"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    reader, writer = os.pipe()
    os.close(reader)
    try:
        gone = subprocess.run(
            command, stdout=writer, stderr=subprocess.PIPE, text=True, env=environment, check=False
        )
    finally:
        os.close(writer)
    assert (gone.returncode, gone.stderr) == (1, "")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "error: Standard output can't be written: No space left on device. (disk-full)\n"


@pytest.mark.parametrize("command", ["pin", "unpin", "rollback"])
def test_a_slot_whose_name_is_no_text_is_wrong_usage(host: ToyHost, device: Device, command: str) -> None:
    device.start()
    done = run_agent(device.config, command, os.fsdecode(b"a\xff"))
    assert done.returncode == 2
    assert "argument slot: 'a\\udcff' is not text" in done.stderr
