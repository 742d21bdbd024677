"""What breaks around the host: its disk, its database, its blobs, its secrets, and what its folder is called."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from edgelift_contract.errors import ContractError
from edgelift_fleet.client import segment
from edgelift_fleet.db import Database
from edgelift_fleet.devices import is_online
from edgelift_fleet.site import load_site
from edgelift_fleet.tables import DeviceRow
from edgelift_fleet.telemetry.keeper import Keeper
from edgelift_fleet.telemetry.retention import Ages
from tests.fleet.conftest import Server, edgelift, environment, make_site
from tests.simulators.small_disk import small_disk

pytestmark = pytest.mark.fleet


@pytest.mark.broker
@pytest.mark.parametrize("name", ["a?b", "a%41b", "new\nline", os.fsdecode(b"by\xfftes"), "a [b] #c"])
def test_a_site_may_have_any_name(
    tmp_path: Path, releases: dict[str, Path], mosquitto_program: str, name: str
) -> None:
    site = make_site(tmp_path / "sites" / name, releases)
    server = Server(site).start()
    try:
        listed = edgelift("releases", "--site", site)
        devices = edgelift("devices", "--site", site)
    finally:
        assert server.stop() == 0
    assert "digits@3" in listed.stdout and devices.returncode == 0, (listed.stderr, devices.stderr)
    assert "broker mosquitto" in server.ready_line or "\n" in name
    # Nothing of it lies beside it but what the test itself logs.
    assert {p.name for p in site.parent.iterdir()} == {name, server.log.name}


@pytest.mark.parametrize("begin", [0, 4096], ids=["its head", "a page"])
def test_a_damaged_database_is_named(site: Path, begin: int) -> None:
    with (site / "edgelift.db").open("r+b") as file:
        file.seek(begin)
        file.write(b"\xa5" * 40_000)
    for arguments in (["releases"], ["serve", "--port", "0", "--broker", "none"]):
        done = edgelift(*arguments, "--site", site)
        assert done.returncode == 1 and "edgelift.db is damaged" in done.stderr, done.stderr
        assert "(disk-error)" in done.stderr and "fault" not in done.stderr


def test_a_full_disk_is_called_so(tmp_path: Path) -> None:
    site = tmp_path / "disk" / "site"
    with small_disk(site.parent, "size=2m") as disk:

        def run(*arguments: object) -> subprocess.CompletedProcess[str]:
            main = [sys.executable, "-c", "from edgelift.cli import main; main()", *map(str, arguments)]
            return subprocess.run([*disk.within, *main], capture_output=True, text=True, env=environment())

        made = run("init", site)
        assert made.returncode == 0, made.stderr
        disk.fill()
        done = run("serve", "--site", site, "--port", "0", "--broker", "none")
    assert done.returncode == 1 and "(disk-full)" in done.stderr, done.stderr


def test_publishing_again_mends_a_damaged_blob(site: Path, releases: dict[str, Path]) -> None:
    blobs = sorted((site / "blobs").iterdir())
    before = {blob.name: blob.read_bytes() for blob in blobs}
    blobs[0].chmod(0o644)
    blobs[0].write_bytes(before[blobs[0].name][:-1])
    said = [edgelift("publish", folder, "--site", site).stdout for folder in releases.values()]
    assert {blob.name: blob.read_bytes() for blob in (site / "blobs").iterdir() if blob.is_file()} == before
    assert "1 damaged files of it were mended" in "".join(said)


def test_an_empty_secret_is_not_served_with(site: Path) -> None:
    (site / "secrets" / "operator-token").write_text("\n")
    done = edgelift("serve", "--site", site, "--port", "0", "--broker", "none")
    assert done.returncode == 1 and "operator-token is empty" in done.stderr


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('database = "foo"', "bad-config"),
        ('database = "nosuch://x"', "bad-config"),
        ("seen_flush_s = 1e300", "bad-config"),
    ],
)
def test_a_wrong_setting_is_named(site: Path, line: str, code: str) -> None:
    (site / "site.toml").write_text(f"schema = 1\n{line}\n")
    done = edgelift("serve", "--site", site, "--port", "0", "--broker", "none")
    assert done.returncode == 1 and f"({code})" in done.stderr, done.stderr


def test_a_site_file_with_a_byte_order_mark(site: Path) -> None:
    (site / "site.toml").write_bytes(b"\xef\xbb\xbf" + (site / "site.toml").read_bytes())
    assert load_site(site).config.schema == 1


@pytest.fixture
def keeper(site: Path) -> Iterator[Keeper]:
    db = Database(load_site(site).database)
    with db.engine.begin() as connection:
        for table in ("telemetry_pending", "telemetry_gauge"):
            connection.execute(sa.text(f"DROP TABLE {table}"))
    yield Keeper(db.read, db.write, Ages())
    db.close()


def test_telemetry_that_the_database_refuses_to_sum_or_forget_is_no_end_of_its_keeping(
    keeper: Keeper, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert keeper.fold_all() == keeper.sweep_all() == 0
    assert "telemetry was not summed" in caplog.text and "telemetry was not forgotten" in caplog.text


def test_a_server_that_was_killed_is_told_in_words(site: Path) -> None:
    with socket.socket() as taken:  # bound and not listening: nobody else's, and it refuses
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        (site / "run" / "server.json").write_text(f'{{"url":"{url}","pid":{os.getpid()},"broker":"none"}}')
        done = edgelift("devices", "--site", site)
    assert done.returncode == 1
    assert f"The server at {url} cannot be reached: Connection refused." in done.stderr


def test_an_empty_name_is_no_path() -> None:
    with pytest.raises(ContractError):
        segment("")


@pytest.mark.parametrize(
    ("gone_at", "last_seen", "online"),
    [(0, 990, True), (980, 990, True), (995, 990, False), (90_000, 990, True), (0, 90_000, False), (0, 0, False)],
    ids=["speaks", "back again", "good-bye", "good-bye in the future", "spoke in the future", "silent"],
)
def test_a_clock_that_was_set_back_hides_no_device(gone_at: float, last_seen: float, online: bool) -> None:
    row = DeviceRow(id="pi-1", presence_online=False, gone_at=gone_at)
    assert is_online(row, last_seen, now=1000.0) is online
