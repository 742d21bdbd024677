"""A seeded sample of the crash points that `scripts/bench crash` enumerates in full: some of every state."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from benchmarks.crashing.points import Bench, Case, drawn_cases
from benchmarks.crashing.rig import preload
from benchmarks.crashing.scenarios import SCENARIOS

#: States of an update that each scenario must have been broken in, besides opening, starting and stopping.
STATES = {
    "install": {"fetching", "verifying", "staging", "preflight", "swapping", "observing", "committing", "reporting"},
    "update": {"fetching", "verifying", "staging", "preflight", "swapping", "observing", "committing", "reporting"},
    "amended": {"fetching", "verifying", "staging", "preflight", "swapping", "observing", "committing", "reporting"},
    "rollback": {"fetching", "verifying", "preflight", "swapping", "observing", "committing", "reporting"},
    "rollback-by-hand": {"idle"},
    "emptied": {"idle"},
    "superseded": {"fetching", "verifying", "staging", "preflight", "swapping", "observing", "committing", "reporting"},
    "preflight-fails": {"fetching", "verifying", "staging", "preflight", "reporting"},
    "probation-fails": {"fetching", "verifying", "staging", "preflight", "swapping", "observing", "rolling-back",
                        "reporting"},
}  # fmt: skip


def is_certain(point: str) -> bool:
    """Does every run come to this point?

    In how many batches telemetry is confirmed, and in how many pieces blobs are written, is for load and network to
    say: the first confirmation always comes, and so do six pieces, for none has more than 128 KB.
    """
    kind, _, number = point.rpartition("/")
    most = 1 if kind.startswith("any/") else 6 if kind == "fetching/write partial" else None
    return most is None or int(number) <= most


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_a_fault_in_any_state_leaves_a_whole_model_serving_and_the_host_well_informed(
    tmp_path: Path, name: str
) -> None:
    preload()
    bench = Bench(tmp_path, clean_runs=1)
    points = [point for point in bench.count(SCENARIOS[name]) if is_certain(point)]
    cases = drawn_cases(name, points, seed=7, per_phase=1, lasting=1)
    assert STATES[name] | {"opening", "starting", "stopping"} <= {case.phase for case in cases}
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda case: bench.run_in_phase(case, points), cases))
    outcomes = [outcome for run in runs for outcome in run]
    assert [f"{outcome.case}: {fault}\n{outcome.log}" for outcome in outcomes for fault in outcome.faults] == []
    assert [str(run[0].case) for run in runs if not run[-1].reached] == []


def test_a_point_that_does_not_come_again_gives_way_to_another_of_its_phase(tmp_path: Path) -> None:
    preload()
    bench = Bench(tmp_path, clean_runs=1)
    points = [point for point in bench.count(SCENARIOS["emptied"]) if is_certain(point)]
    absent = Case("emptied", "idle/commit what no run has/1", "EIO")
    outcomes = bench.run_in_phase(absent, [absent.point, *points])
    assert [outcome.reached for outcome in outcomes] == [False, True]
    assert outcomes[-1].case.phase == "idle"
    assert [fault for outcome in outcomes for fault in outcome.faults] == []
