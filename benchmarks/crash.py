"""Kills the agent after its n-th durable operation, for every n of an update, and looks at what serves then."""

import argparse
import contextlib
import itertools
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import requests

from benchmarks.common import arguments, show, write
from edgelift_agent.admin import ask
from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract.assignment import Policy
from edgelift_contract.errors import DeviceError
from edgelift_contract.report import Report

DEVICE = "pi-1"
#: Below the range from which the system hands out ports, so that parallel runs never collide; each test worker
#: (gw0, gw1 …) has a range of its own, and so has a run by hand.
PORTS = itertools.count(20_000 + 1000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw9").removeprefix("gw")))
QUICK = Policy(probation_s=0.2, probation_min_requests=2)
GOOD_1, GOOD_2 = ToyModelFile(scale=1), ToyModelFile(scale=2)
PADDING = 1_500_000
#: Points that are run at once.
WIDTH = 4
ENDED = ("committed", "refused", "rolled-back", "inconsistent", "superseded")


@dataclass(frozen=True)
class Scenario:
    """An update to break.

    `begin` publishes and assigns; `order` is a command for the running agent; `serves` are the versions that
    may serve in the end; `prepared` versions are installed one after the other beforehand.
    """

    name: str
    prepared: tuple[ToyModelFile, ...]
    begin: Callable[[ToyHost], None]
    serves: frozenset[str]
    order: str = ""
    requests: bool = False


def _assign(version: str, file: ToyModelFile, **options: object) -> Callable[[ToyHost], None]:
    def begin(host: ToyHost) -> None:
        host.assign(DEVICE, toy=host.publish(version, file, padding=PADDING, **{"policy": QUICK, **options}))

    return begin


def _supersede(host: ToyHost) -> None:
    """A second wish follows while the first is being fetched."""
    _assign("2", GOOD_2)(host)
    third = host.publish("3", ToyModelFile(scale=3), padding=PADDING // 4, policy=QUICK)
    threading.Timer(0.7, lambda: host.assign(DEVICE, toy=third)).start()


def _scenarios() -> dict[str, Scenario]:
    bad_service = ToyModelFile(scale=2, on_run="fail", only_in_service=True, after=8)
    watched = Policy(probation_s=1.5, probation_min_requests=2)
    older = Policy(probation_s=0.2, allow_older=True)
    all_of_them = [
        Scenario("install", (), _assign("1", GOOD_1), frozenset("1")),
        Scenario("update", (GOOD_1,), _assign("2", GOOD_2), frozenset("2")),
        Scenario("rollback", (GOOD_1, GOOD_2), _assign("1", GOOD_1, policy=older), frozenset("1")),
        Scenario("rollback-by-hand", (GOOD_1, GOOD_2), lambda _: None, frozenset("12"), order="rollback"),
        Scenario("emptied", (GOOD_1,), lambda host: host.assign(DEVICE) and None, frozenset()),
        Scenario("superseded", (GOOD_1,), _supersede, frozenset("3")),
        Scenario("preflight-fails", (GOOD_1,), _assign("2", GOOD_2, golden_offset=1.0), frozenset("1")),
        Scenario(
            "probation-fails", (GOOD_1,), _assign("2", bad_service, policy=watched), frozenset("1"), requests=True
        ),
    ]
    return {scenario.name: scenario for scenario in all_of_them}


SCENARIOS = _scenarios()


@dataclass
class Outcome:
    """What one run came to; `faults` names what is wrong with the end state, empty for a good one."""

    scenario: str
    mode: str
    n: int
    reached: bool
    faults: list[str] = field(default_factory=list)


def _agent(argv: list[str], log: str) -> None:
    """In a forked child: the testing agent's own main."""
    from edgelift_agent.testing import agent

    with Path(log).open("a") as handle:
        sys.stderr = handle
        sys.argv = ["agent", *argv]
        with contextlib.suppress(SystemExit):
            agent.main()
        handle.flush()


class Rig:
    """One device folder and its host, for one run."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder, self.host = folder, ToyHost(port=port)
        self.log = str(folder / "agent.log")
        self.port = next(PORTS)
        self.process: multiprocessing.process.BaseProcess | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "agent.toml").write_text(
            f'device = "{DEVICE}"\nstate_dir = "{folder / "state"}"\n'
            f'[host]\nurl = "{self.host.url}"\ntoken = "{self.host.token}"\n'
            f"[serve]\nport = {self.port}\nadmin_port = 0\n"
            "[telemetry]\nwindow_s = 3600\npublish_interval_s = 3600\nprobation_window_s = 3600\n"
            "[update]\nretry_first_s = 0.05\nretry_cap_s = 0.2\n"
        )

    def start(self, *arguments: str) -> None:
        context = multiprocessing.get_context("forkserver")
        argv = ["--config", str(self.folder / "agent.toml"), *arguments]
        self.process = context.Process(target=_agent, args=(argv, self.log), daemon=False)
        self.process.start()

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.is_alive()

    def answer(self) -> tuple[float, str] | None:
        """(what the model makes of 1, which version it says it is); None while nothing serves."""
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 1, 1, 1]}
        try:
            url = f"http://127.0.0.1:{self.port}/v2/models/toy/infer"
            got = requests.post(url, json={"inputs": [tensor]}, timeout=5)
        except requests.RequestException:
            return None
        if not got.ok:
            return None
        body = got.json()
        return body["outputs"][0]["data"][0], body["parameters"]["release"].partition("@")[2]

    def order(self, command: str) -> None:
        deadline = time.monotonic() + 10
        while self.alive and time.monotonic() < deadline:
            try:
                ask(
                    self.folder / "state" / "run" / "admin.sock",
                    "POST",
                    f"/{command}",
                    {"slot": "toy"},
                    timeout_s=5,
                )
                return
            except (DeviceError, OSError):
                time.sleep(0.05)

    def stop(self) -> int:
        """Stop it if it still runs; its exit code, negative for a signal."""
        if self.process is None:
            return 0
        if self.process.is_alive():
            self.process.terminate()
            self.process.join(20)
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        return self.process.exitcode or 0

    def close(self) -> None:
        self.stop()
        self.host.close()


def _settled(rig: Rig, scenario: Scenario | None = None) -> bool:
    """The newest assignment was carried out, or the order was, and the host knows."""
    report = rig.host.last(DEVICE)
    wanted = rig.host.assignments.get(DEVICE)
    if report is None or wanted is None or report.revision_applied != wanted.revision:
        return False
    if not wanted.slots:
        return "toy" not in report.slots
    slot = report.slots.get("toy")
    if slot is None or slot.update is None or slot.update.outcome not in ENDED:
        return False
    if scenario is not None and scenario.name == "superseded" and wanted.revision < 3:
        return False  # the second wish is still to come
    return slot.state == "pinned" or scenario is None or not scenario.order


def _wait(rig: Rig, condition: Callable[[], bool], timeout_s: float, *, traffic: bool = False) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        if traffic:
            rig.answer()
        time.sleep(0.02)
    return False


def prepare(scenario: Scenario, folder: Path) -> None:
    """A device folder in which `scenario.prepared` were installed, cleanly stopped."""
    rig = Rig(folder)
    try:
        if scenario.prepared:
            rig.start()
        for number, file in enumerate(scenario.prepared, 1):
            rig.host.assign(DEVICE, toy=rig.host.publish(str(number), file, padding=PADDING, policy=QUICK))
            assert _wait(rig, lambda: _settled(rig), 30), Path(rig.log).read_text()
    finally:
        rig.close()


def run_point(scenario: Scenario, prepared: Path, folder: Path, mode: str, n: int) -> Outcome:
    """Break the scenario's update at its n-th operation (`kill` or an error's name), then judge the end state."""
    shutil.copytree(prepared, folder, symlinks=True, ignore=shutil.ignore_patterns("*.sock", "agent.log"))
    rig = Rig(folder)
    outcome = Outcome(scenario.name, mode, n, reached=False)
    try:
        _replay(rig, scenario)
        mark = folder / "struck"
        rig.start("--fault", mode, "--at", str(n), "--mark", str(mark))
        if scenario.order:
            rig.order(scenario.order)
        _wait(rig, lambda: _settled(rig, scenario) or not rig.alive, 30, traffic=scenario.requests)
        # Stopping writes too: let the fault strike there as well, before the end state is judged.
        code = rig.stop()
        # 255 is what the fork server says of a child whose end it did not see, as of one killed very early.
        killed = code in (-signal.SIGKILL, 255)
        outcome.reached = mark.exists()
        if mode == "kill" and not killed and code != 0:
            outcome.faults.append(f"the agent ended with {code}")
        rig.start()
        if scenario.order and not _settled(rig, scenario):
            rig.order(scenario.order)
        done = _wait(rig, lambda: _settled(rig, scenario), 40, traffic=scenario.requests)
        _judge(rig, scenario, outcome, done=done)
    finally:
        rig.close()
    return outcome


def _replay(rig: Rig, scenario: Scenario) -> None:
    """Bring the host to where it was: what the device has installed, then the new wish."""
    for number, file in enumerate(scenario.prepared, 1):
        rig.host.assign(DEVICE, toy=rig.host.publish(str(number), file, padding=PADDING, policy=QUICK))
    scenario.begin(rig.host)


def _judge(rig: Rig, scenario: Scenario, outcome: Outcome, *, done: bool) -> None:
    """Note every way in which the end state is bad."""
    # The last report may still be on its way when the state changes: give it a moment to be the last.
    _wait(rig, lambda: _consistent(rig) or not scenario.serves, 5)
    answer, report = rig.answer(), rig.host.last(DEVICE)
    if not done:
        outcome.faults.append("the update did not end")
    if not scenario.serves:
        outcome.faults += ["something serves"] if answer is not None else []
        return
    if answer is None:
        outcome.faults.append("nothing serves")
    elif answer[0] != float(answer[1]):
        outcome.faults.append(f"the answer {answer[0]} is not version {answer[1]}'s")
    elif answer[1] not in scenario.serves:
        outcome.faults.append(f"version {answer[1]} serves")
    if not _consistent(rig):
        outcome.faults.append(f"the host was told {_told(report)} while {answer} serves")


def _consistent(rig: Rig) -> bool:
    answer, report = rig.answer(), rig.host.last(DEVICE)
    slot = report.slots.get("toy") if report else None
    if answer is None or slot is None or slot.update is None or slot.version != answer[1]:
        return False
    committed = slot.update.outcome == "committed"
    return slot.update.version == answer[1] if committed else slot.update.outcome in ENDED


def _told(report: Report | None) -> str:
    slot = report.slots.get("toy") if report else None
    update = slot.update if slot else None
    return f"{slot.version if slot else None} {update.outcome if update else None} {update.code if update else ''}"


def enumerate_scenario(
    scenario: Scenario, mode: str, root: Path, pool: ThreadPoolExecutor, *, only: list[int] | None = None
) -> list[Outcome]:
    """All points of a scenario, in order, until `WIDTH` of them lie past the last operation; or `only` these.

    An update does not always take the same number of operations: a point that was missed is tried once more, and one
    miss is not the end.
    """
    prepared = root / f"{scenario.name}-prepared"
    if not prepared.exists():
        prepare(scenario, prepared)
    outcomes: list[Outcome] = []
    numbers = iter(only) if only is not None else iter(range(1, 10_000))

    def run(batch: list[int]) -> list[Outcome]:
        folders = [root / f"{scenario.name}-{mode}-{n}" for n in batch]
        runs = [
            pool.submit(run_point, scenario, prepared, folder, mode, n)
            for n, folder in zip(batch, folders, strict=True)
        ]
        done = [run.result() for run in runs]
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        return done

    while batch := list(itertools.islice(numbers, WIDTH)):
        done = run(batch)
        struck = [outcome for outcome in done if outcome.reached or outcome.faults]
        if only is None and struck and len(struck) < len(done):
            again = run([outcome.n for outcome in done if outcome not in struck])
            struck += [outcome for outcome in again if outcome.reached or outcome.faults]
        outcomes += struck
        if only is None and not struck:
            break
    return outcomes


def preload() -> None:
    """Let the fork server import what an agent imports, once."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(
        ["edgelift_agent.testing.agent", "uvicorn", "numpy", "requests", "edgelift_agent.artifact.goldens"]
    )


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), action="append")
    parser.add_argument("--mode", choices=["kill", "ENOSPC", "EIO", "EROFS"], action="append")
    parser.add_argument("--sample", type=int, metavar="N", help="only N points of each, chosen by --seed")
    parser.add_argument("--seed", type=int, default=1)
    parsed = parser.parse_args()
    preload()
    started = time.monotonic()
    outcomes = _run(parsed)
    for outcome in outcomes:
        for fault in outcome.faults:
            print(f"BAD {outcome.scenario} {outcome.mode} at {outcome.n}: {fault}")
    counts = Counter((o.scenario, o.mode) for o in outcomes)
    bad = Counter((o.scenario, o.mode) for o in outcomes if o.faults)
    show("crash points", [[*key, counts[key], bad[key]] for key in counts], ["scenario", "fault", "points", "bad"])
    total_bad = sum(bool(o.faults) for o in outcomes)
    print(f"crash points: {len(outcomes)}, bad end states: {total_bad} ({time.monotonic() - started:.0f} s)")
    by_scenario = [
        {"scenario": s, "mode": m, "points": counts[s, m], "bad_end_states": bad[s, m]} for s, m in sorted(counts)
    ]
    write(parsed.json, {"points": len(outcomes), "bad_end_states": total_bad, "by_scenario": by_scenario})
    sys.exit(1 if total_bad else 0)


def _run(parsed: argparse.Namespace) -> list[Outcome]:
    chosen = random.Random(parsed.seed)
    outcomes: list[Outcome] = []
    lock = threading.Lock()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(WIDTH) as pool:
        for name in parsed.scenario or SCENARIOS:
            for mode in parsed.mode or ["kill", "ENOSPC", "EIO", "EROFS"]:
                only = sorted(chosen.sample(range(1, 60), parsed.sample)) if parsed.sample else None
                got = enumerate_scenario(SCENARIOS[name], mode, Path(folder), pool, only=only)
                with lock:
                    outcomes += got
                bad = sum(bool(o.faults) for o in got)
                print(f"{name:18} {mode:7} {len(got):4} points, {bad} bad", file=sys.stderr, flush=True)
    return outcomes


if __name__ == "__main__":
    main()
