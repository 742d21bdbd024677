"""`edgelift simulate`: boards of a profile take releases over real links, go wrong as told, and outlive their broker."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from edgelift_contract.assignment import Policy
from edgelift_contract.errors import ContractError
from edgelift_fleet.client import Client
from edgelift_fleet.messages import (
    AssignReply,
    AssignRequest,
    BundleRequest,
    BundleView,
    DeviceDetail,
    DeviceSummary,
    RolloutRequest,
    RolloutView,
)
from edgelift_fleet.simulate.engine import Simulation, kinds_of
from edgelift_fleet.simulate.http import Address
from edgelift_fleet.simulate.profile import BoardClass, Profile, ReleaseFault, load_profile
from edgelift_fleet.testing import FleetSimulator, wait_until
from tests.fleet.conftest import Server, edgelift, environment
from tests.fleet.identity.sites import secure
from tests.simulators.device import free_port

QUICK = Profile(
    schema=1, window_s=0.2, publish_s=0.2, retry_first_s=0.1, retry_most_s=0.5,
    classes=[
        BoardClass(name="fast", share=2, requests_per_s=200, latency_ms=1),
        BoardClass(name="slow", share=1, requests_per_s=200, latency_ms=5, transport="http"),
    ],
)  # fmt: skip


@contextmanager
def living(
    server: Server, devices: int, profile: Profile = QUICK, address: Address | None = None,
    *, connected: int | None = None,
) -> Iterator[Simulation]:  # fmt: skip
    """A simulation in a thread of its own; begun once so many boards are `connected`, by default all."""
    made = Simulation(address or Address.of(server.url, server.token), profile, devices)
    loop, until = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(made.run(until)))
    thread.start()
    try:
        wait_until(
            lambda: made.figures().connected == (devices if connected is None else connected),
            what="every board's link",
        )
        yield made
    finally:
        loop.call_soon_threadsafe(until.set)
        thread.join()
        loop.close()


def roll_out(server: Server, release: str, **policy: float) -> Callable[[], RolloutView]:
    """Start a rollout to all boards; returns what shows it."""
    wanted = Policy(**{"probation_s": 0.0, "probation_min_requests": 20, **policy})  # type: ignore[arg-type]  # fields of several types
    request = RolloutRequest(release, "all", ["100%"], policy=wanted, max_failures=100)
    return begin(server, request)


def begin(server: Server, request: RolloutRequest) -> Callable[[], RolloutView]:
    """The same, as a plan has it."""
    client = Client(server.url, server.operator)
    made = client.post("/v1/rollouts", request, RolloutView)
    return lambda: client.get(f"/v1/rollouts/{made.id}", RolloutView)


def take(server: Server, release: str) -> None:
    """Roll a release out to all boards, to its end."""
    show = roll_out(server, release)
    wait_until(lambda: show().state == "done", what=f"{release} everywhere")


def test_boards_of_two_classes_take_a_release_and_tell_what_they_measure(server: Server) -> None:
    with living(server, 9) as boards:
        show = roll_out(server, "digits@1", probation_s=0.5)
        wait_until(lambda: show().state == "done")
        wait_until(lambda: boards.figures().windows > 20)
        figures = boards.figures()
        assert figures.running == {"digits@1": 9} and figures.updates == {"committed": 9}
        assert figures.refused == {} and figures.dropped == 0
        listed = Client(server.url, server.operator).get("/v1/devices", list[DeviceSummary])
        took = [one.slots[0].update.took_s for one in listed if one.slots[0].update is not None]
        assert {tuple(sorted(one)) for one in took} == {
            ("committing", "fetching", "observing", "preflight", "swapping")
        }
        assert len(took) == 9 and all(one["observing"] >= 0.5 for one in took)
    assert boards.figures().connected == 0 and boards.figures().waiting == 0


def test_the_agents_own_guard_sends_a_slower_version_back(server: Server) -> None:
    slower = msgspec.structs.replace(QUICK, versions={"2": 1.5})
    with living(server, 6, slower) as boards:
        take(server, "digits@1")
        wait_until(lambda: boards.figures().windows > 12)
        show = roll_out(server, "digits@2", probation_s=3.0, max_latency_ratio=1.2)
        wait_until(lambda: show().failed == 6)
        assert boards.figures().by_code == {"probation-latency": 6}
        assert boards.figures().running == {"digits@1": 6}
        assert "1.2-fold" in show().devices[0].message


def test_controls_swap_to_what_they_serve_as_placebos(server: Server) -> None:
    with living(server, 12) as boards:
        take(server, "digits@1")
        wait_until(lambda: boards.figures().windows > 24)
        before = boards.figures().updates["committed"]
        policy = Policy(probation_s=0.5, max_latency_ratio=0)
        plan = {"placebo": True, "gates": ["errors"], "gate_min_requests": 5, "soak_s": 3.0}
        show = begin(server, RolloutRequest("digits@2", "all", ["6", "100%"], policy=policy, **plan))
        wait_until(lambda: show().state == "done")
        assert boards.figures().updates["committed"] == before + 12 + 6
        client = Client(server.url, server.operator)
        details = [client.get(f"/v1/devices/{one.device}", DeviceDetail) for one in show().devices]
        swaps = [swap for detail in details for swap in detail.swaps]
        placebos = [s for s in swaps if s.reason == "placebo"]
        assert len(placebos) == 6 and all(
            s.artifact_from == s.artifact_to and s.version_to == "1" for s in placebos
        )


def test_a_release_goes_wrong_as_the_profile_says(server: Server) -> None:
    kinds = ("refuse", "roll-back", "forge", "fail-later")
    faulty = msgspec.structs.replace(
        QUICK,
        classes=[msgspec.structs.replace(QUICK.classes[0], name=kind, share=1) for kind in kinds],
        faults=[ReleaseFault(version="digits@1", kind=kind, classes=[kind]) for kind in kinds],  # type: ignore[arg-type]  # its words
    )
    with living(server, 8, faulty) as boards:
        roll_out(server, "digits@1", probation_s=0.3)
        wait_until(lambda: boards.figures().updates == {"refused": 2, "rolled-back": 2, "committed": 4})
        assert boards.figures().running == {"digits@1": 4}
        assert boards.figures().by_code == {"golden-mismatch": 4}


def test_a_board_that_dies_in_probation_comes_back_with_what_it_had(server: Server) -> None:
    dies = msgspec.structs.replace(QUICK, faults=[ReleaseFault(version="2", kind="die", back_s=0.5)])
    with living(server, 3, dies) as boards:
        take(server, "digits@1")
        show = roll_out(server, "digits@2", probation_s=0.5)
        wait_until(lambda: show().failed == 3)
        wait_until(lambda: boards.figures().connected == 3)
        assert boards.figures().running == {"digits@1": 3}
        assert {device.code for device in show().devices} == {"interrupted"}


@pytest.mark.broker
def test_boards_outlive_a_broker_that_is_killed(mqtt_server: Server) -> None:
    mqtt_only = msgspec.structs.replace(QUICK, classes=QUICK.classes[:1])
    with living(mqtt_server, 12, mqtt_only) as boards:
        take(mqtt_server, "digits@1")
        for release in ("digits@2", "digits@3"):
            before = boards.figures()
            os.kill(broker_pid(mqtt_server), signal.SIGKILL)
            wait_until(lambda n=before.reconnects: boards.figures().reconnects >= n + 12)
            wait_until(lambda: boards.figures().connected == 12, what="every board's link to the new broker")
            # Not deaf: each hears the next release over the new connection, and each says so.
            take(mqtt_server, release)
            wait_until(lambda n=before.windows: boards.figures().windows > n + 12)
        assert boards.figures().running == {"digits@3": 12}
        client = Client(mqtt_server.url, mqtt_server.operator)
        wait_until(lambda: all(d["online"] for d in client.get("/v1/devices", list[dict])))


@pytest.mark.broker
def test_a_device_that_a_test_leads_outlives_it_too(mqtt_server: Server, mqtt_fleet: FleetSimulator) -> None:
    mqtt_fleet.add("pi-1", mqtt=True)
    client = Client(mqtt_server.url, mqtt_server.operator)
    shown = lambda: client.get("/v1/devices/pi-1", DeviceDetail).device  # noqa: E731 - read twice below
    wait_until(lambda: shown().online)
    os.kill(broker_pid(mqtt_server), signal.SIGKILL)
    wait_until(lambda: not mqtt_fleet.devices["pi-1"].client.is_connected())
    wait_until(lambda: mqtt_fleet.devices["pi-1"].client.is_connected())
    client.post("/v1/devices/pi-1/assign", AssignRequest("digits@1", policy=Policy(probation_s=0)), AssignReply)
    wait_until(lambda: [slot.version for slot in shown().slots] == ["1"])
    assert shown().online


def broker_pid(server: Server) -> int:
    """The mosquitto that the server started."""
    import psutil

    def found() -> list[int]:
        assert server.process is not None
        children = psutil.Process(server.process.pid).children(recursive=True)
        return [child.pid for child in children if "mosquitto" in child.name()]

    return int(wait_until(found)[0])


def simulate(words: list[str], enough: Callable[[str], bool]) -> subprocess.CompletedProcess[str]:
    """The command, told to end (SIGTERM) once a line of its standard error is enough."""
    with subprocess.Popen(
        [sys.executable, "-c", "from edgelift.cli import main; main()", "simulate", "--every", "0.2s", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    ) as process:  # fmt: skip
        assert process.stderr is not None
        lines = [process.stderr.readline()]
        while not enough(lines[-1]):
            assert process.poll() is None, lines
            lines.append(process.stderr.readline())
        process.send_signal(signal.SIGTERM)
        out, rest = process.communicate()
    return subprocess.CompletedProcess(words, process.returncode, out, "".join(lines) + rest)


def test_the_command_tells_what_happened_and_ends_on_sigterm(server: Server) -> None:
    token = str(server.site / "secrets" / "enrolment-token")
    words = ["-n", "5", "--profile", "barn", "--url", server.url, "--token-file", token, "--json"]
    done = simulate(words, lambda line: "5 of 5 boards connected" in line)
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert (told["boards"], told["connected"], told["kept_out"]) == (5, 5, {})
    assert done.stderr.splitlines()[-1].startswith("5 of 5 boards connected"), done.stderr


def test_a_fleet_that_nobody_answers_never_got_in(server: Server) -> None:
    token = str(server.site / "secrets" / "enrolment-token")
    away = f"http://127.0.0.1:{free_port()}"
    done = simulate(
        ["-n", "2", "--url", away, "--token-file", token, "--json"], lambda line: "links broke" in line
    )
    assert done.returncode == 1 and "2 of 2 boards never got in: 2 unreachable. The last link" in done.stderr
    assert "(unreachable)" in done.stderr and json.loads(done.stdout)["connected"] == 0


def test_shares_are_kept_as_exactly_as_whole_boards_can() -> None:
    barn = load_profile(Path("barn"))
    kinds = [kind.name for kind in kinds_of(barn, 100)]
    assert [kinds.count(name) for name in ("pi4", "pi5", "box")] == [60, 30, 10]
    assert set(kinds[:4]) >= {"pi4", "pi5"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("schema = 1\nclasses = []", "malformed"),
        ("schema = 2\n[[classes]]\nname = 'a'", "unknown-schema"),
        ("schema = 1\n[[classes]]\nname = 'a'\nshares = 1", "malformed"),
        ("schema = 1\n[[classes]]\nname = 'a'\n[[offline]]\nfor_s = 1\nclasses = ['b']", "malformed"),
        (
            "schema = 1\n[[classes]]\nname = 'a'\n[[faults]]\nversion = '1'\nkind = 'refuse'\ncode = 'x'",
            "malformed",
        ),
        ("schema = ", "malformed"),
    ],
)
def test_a_profile_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, code: str) -> None:
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(ContractError) as caught:
        load_profile(path)
    assert caught.value.code == code


def test_without_a_server_the_command_says_so(site: Path) -> None:
    done = edgelift("simulate", "--site", site, "-n", "1")
    assert done.returncode == 1 and "(unreachable)" in done.stderr


def test_a_keep_that_is_no_folder_is_told(site: Path, tmp_path: Path) -> None:
    secure(site)
    (tmp_path / "kept").write_text("")
    done = edgelift("simulate", "--site", site, "-n", "1", "--keep", tmp_path / "kept")
    assert done.returncode == 1 and "(disk-error)" in done.stderr and "kept" in done.stderr


def test_simulated_boards_bring_their_bundles_over_both_links(mqtt_server: Server) -> None:
    """Whoever is at the broker is told by a message: its polls are minutes apart."""
    operator = Client(mqtt_server.url, mqtt_server.operator)
    with living(mqtt_server, 3):
        wait_until(lambda: len(operator.get("/v1/devices", list)) == 3)
        names = [one["device"] for one in operator.get("/v1/devices", list)]
        for name in names:
            operator.post(f"/v1/devices/{name}/bundles", BundleRequest("a test"), BundleView)

        def states() -> set[str]:
            paths = [f"/v1/devices/{name}/bundles" for name in names]
            return {one.state for path in paths for one in operator.get(path, list[BundleView])}

        wait_until(lambda: states() == {"brought"})
