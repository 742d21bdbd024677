"""Lists of the command line: counts first, a page and how to go on, filters, and `--watch`, on a real server."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from edgelift_contract import codec
from edgelift_contract.report import DeviceFacts
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.site import load_site
from edgelift_fleet.tables import DeviceRow, TagRow
from edgelift_fleet.testing import Behaviour, FleetSimulator, simulated_fleet
from tests.fleet.conftest import Server, edgelift, environment, make_site
from tests.fleet.operating import Operator
from tests.waiting import until

pytestmark = pytest.mark.fleet
#: More than a server answers at once.
MANY = 1003


def settle(site: Path) -> None:
    """Many devices that have been there once: every third one arm64-neon, every tenth one in the barn."""
    facts = {
        name: codec.canonical_json(DeviceFacts(name, [name], {"onnxruntime": "1.30.0"})).decode()
        for name in ("arm64-neon", "x86-64-avx2")
    }
    db = Database(load_site(site).database)
    with db.write(SITE) as session:
        names = {f"old-{n:04}": "arm64-neon" if n % 3 == 0 else "x86-64-avx2" for n in range(MANY)}
        rows = [
            {"id": name, "enrolled_at": 1.0, "last_seen": 1.0, "facts": facts[kind], "hardware_class": kind}
            for name, kind in names.items()
        ]
        session.execute(sa.insert(DeviceRow), rows)
        tagged = [{"device": name, "key": "barn", "value": "", "source": "operator"} for name in list(names)[::10]]
        session.execute(sa.insert(TagRow), tagged)
    db.close()


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory, releases: dict[str, Path]) -> Iterator[Server]:
    """Many devices that are off, and three that are there: `pi-1` serves digits@1, `pi-2` failed at it."""
    site = make_site(tmp_path_factory.mktemp("crowd") / "site", releases)
    settle(site)
    server = Server(site, "--broker", "none").start()
    try:
        with simulated_fleet(site) as fleet:
            fleet.add("pi-1", "pi-3", tags={"row": "north"})
            fleet.add("pi-2", behaviour=Behaviour(outcome="rolled-back"))
            operator = Operator(server)
            operator.assign("digits@1", "pi-1", "pi-2")
            until(lambda: operator.versions("pi-1") == ["1"], "pi-1 serves it")
            until(
                lambda: operator.client.get("/v1/devices/counts?failing=true", dict)["total"] == 1, "pi-2 failed"
            )
            yield server
    finally:
        server.stop()


def listed(server: Server, *options: str) -> list[str]:
    done = edgelift("devices", *options, "--json", "--site", server.site)
    assert done.returncode == 0, done
    return [one["device"] for one in json.loads(done.stdout)]


def test_counts_come_first_then_a_page_and_how_to_go_on(crowd: Server) -> None:
    lines = edgelift("devices", "--site", crowd.site).stdout.splitlines()
    assert lines[0] == (
        f"{MANY + 3:,} devices: 3 online, {MANY:,} offline, 1 failing; 671 x86-64-avx2, 335 arm64-neon; serving 1 digits@1."
    )
    shown = [line for line in lines if line.startswith("│ old-")]
    assert len(shown) == 50 and "old-0049" in shown[-1]
    assert lines[-1].startswith(f"… and {MANY + 3 - 50} more: the same with --after old-0049, or with --all;")
    following = edgelift(
        "devices", "--site", crowd.site, "--after", "old-0049", "--limit", "2"
    ).stdout.splitlines()
    assert "old-0050" in following[4] and "old-0051" in following[5] and following[-1].startswith("… and more: ")
    last = edgelift("devices", "--site", crowd.site, "--after", "pi-2").stdout.splitlines()
    assert "pi-3" in last[4] and not last[-1].startswith("…")


def test_json_is_the_whole_list_unless_a_page_is_asked_for(crowd: Server) -> None:
    everybody = listed(crowd)
    assert len(everybody) == len(set(everybody)) == MANY + 3  # in more than one answer of the server's
    assert listed(crowd, "--limit", "3", "--sort", "-id") == ["pi-3", "pi-2", "pi-1"]
    counts = json.loads(edgelift("devices", "--counts", "--json", "--site", crowd.site).stdout)
    assert (counts["total"], counts["failing"]) == (MANY + 3, 1)


@pytest.mark.parametrize(
    "options, devices",
    [
        (("--online",), ["pi-1", "pi-2", "pi-3"]),
        (("--failing",), ["pi-2"]),
        (("--online", "--not-failing"), ["pi-1", "pi-3"]),
        (("--release", "digits@1"), ["pi-1"]),
        (("--tag", "row=north"), ["pi-1", "pi-3"]),
        (("--tag", "row", "--to", "not runs:digits@1"), ["pi-3"]),
        (("--class", "arm64-*", "--tag", "barn", "--limit", "2"), ["old-0000", "old-0030"]),
        (("--offline", "--limit", "1"), ["old-0000"]),
        (("--duplicate",), []),
        (("--faulty",), []),
    ],
)
def test_filters(crowd: Server, options: tuple[str, ...], devices: list[str]) -> None:
    assert listed(crowd, *options) == devices


def test_a_file_of_thousands_of_ids_is_a_selector_too(crowd: Server, tmp_path: Path) -> None:
    """Longer than any address may be: it is sent as a body, page by page and for the counts."""
    ids = [f"old-{n:04}" for n in range(MANY)]
    file = tmp_path / "ids"
    file.write_text("\n".join([*ids, *(f"nobody-{n:050}" for n in range(4000))]))
    assert listed(crowd, "--to", f"@{file}") == ids
    lines = edgelift("devices", "--to", f"@{file}", "--limit", "2", "--site", crowd.site).stdout.splitlines()
    assert lines[0].startswith(f"{MANY:,} devices of those asked for: 0 online") and "old-0001" in lines[5]
    counts = edgelift("devices", "--to", f"@{file}", "--tag", "barn", "--counts", "--json", "--site", crowd.site)
    assert json.loads(counts.stdout)["total"] == len(ids[::10])


def test_nobody_is_as_asked_for(crowd: Server) -> None:
    done = edgelift("devices", "--class", "jetson-*", "--site", crowd.site)
    assert (done.returncode, done.stdout) == (0, "No device is as asked for.\n")


@pytest.mark.parametrize(
    "options, code",
    [
        (("--all", "--limit", "3"), "malformed"),
        (("--sort", "beauty"), "malformed"),
        (("--to", "tag:"), "bad-id"),
        (("--to", " or ".join(f"id:{n:064}" for n in range(500))), "bad-id"),
        (("--release", "digits@" + "1" * 30_000), "malformed"),
        (("--after", "nobody", "--sort", "class"), "bad-id"),
    ],
)
def test_what_cannot_be_listed_is_refused(crowd: Server, options: tuple[str, ...], code: str) -> None:
    done = edgelift("devices", *options, "--site", crowd.site)
    assert done.returncode == 1 and f"({code})" in " ".join(done.stderr.split()), done


def test_rollouts_how_many_are_open_first(crowd: Server) -> None:
    assert edgelift("rollout", "list", "--site", crowd.site).stdout == "No rollout was started yet.\n"
    operator = Operator(crowd)
    for slot in ("left", "right"):
        rollout = operator.start("digits@2", "100%", to="id:pi-3", slot=slot)
        operator.wait(rollout, "done")
    operator.start("digits@3", "100%", to="id:old-0001")
    first, *rest = edgelift("rollout", "list", "--site", crowd.site, "--limit", "1").stdout.splitlines()
    assert first == "3 rollouts: 1 open." and "r3" in rest[3] and rest[-1].startswith("… and 2 more: ")
    (one,) = json.loads(edgelift("rollout", "list", "--state", "open", "--json", "--site", crowd.site).stdout)
    assert one["id"] == "r3"
    of_digits_2 = json.loads(
        edgelift("rollout", "list", "--release", "digits@2", "--json", "--site", crowd.site).stdout
    )
    assert [one["id"] for one in of_digits_2] == ["r2", "r1"]


@contextmanager
def watched(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", "from edgelift.cli import main; main()", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_watch_writes_what_changes_and_outlives_the_server(server: Server, fleet: FleetSimulator) -> None:
    fleet.add("pi-1")
    with watched("devices", "--watch", "--every", "0.2s", "--json", "--site", server.site) as process:

        def line() -> dict:
            assert process.stdout is not None
            return json.loads(process.stdout.readline())

        first = line()
        assert first["counts"]["total"] == 1 and [one["device"] for one in first["devices"]] == ["pi-1"]
        fleet.add("pi-2")
        new = line()
        while [one["device"] for one in new["devices"]][-1:] != ["pi-2"]:
            new = line()
        assert new["counts"]["total"] == 2
        server.stop()
        while "error" not in (new := line()):
            pass
        assert new["code"] == "unreachable"
        server.start()  # at another port
        while "error" in (new := line()):
            pass
        assert new["counts"]["total"] == 2
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0 and process.stderr is not None and process.stderr.read() == ""


def test_a_watch_of_no_server_is_refused_as_a_list_is(idle_site: Path) -> None:
    done = edgelift("devices", "--watch", "--site", idle_site)
    assert done.returncode == 1 and "(unreachable)" in done.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_watch_on_a_terminal_gives_it_back(crowd: Server, how: signal.Signals) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(environment(), TERM="xterm")
        os.execv(sys.executable, [
            sys.executable, "-c", "from edgelift.cli import main; main()", "devices", "-w", "--every", "0.1s", "--online",
            "--site", str(crowd.site),
        ])  # fmt: skip
    seen = b""
    try:
        while seen.count(b"Ctrl-C ends") < 2:
            seen += os.read(terminal, 1 << 16)
        if how == signal.SIGINT:
            os.write(terminal, b"\x03")
        else:
            os.kill(child, how)
        while not seen.endswith((b"\x1b[?25h", b"\x1b[?25h\r\n")):  # the cursor is shown again
            seen += os.read(terminal, 1 << 16)
        _, status = os.waitpid(child, 0)
    finally:
        os.close(terminal)  # which ends it if it still runs
    assert status == 0 and b"3 devices of those asked for: 3 online" in seen and b"pi-3" in seen
