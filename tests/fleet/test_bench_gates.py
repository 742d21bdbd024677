"""`scripts/bench gates` runs and says what its JSON promises; its figures are its own business."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmarks.gating import waits
from benchmarks.gating.binned import bin_up, changes
from benchmarks.gating.cases import judge_fleet

from edgelift_fleet.rollout.gates.measure import Reading, measure

pytestmark = pytest.mark.fleet


def test_it_writes_rates_with_their_intervals_power_and_a_picture(tmp_path: Path):
    written, picture = tmp_path / "gates.json", tmp_path / "gates.svg"
    command = [sys.executable, "-m", "benchmarks.gates", "--fleets", "2", "--jobs", "1", "--json", written]
    subprocess.run([*command, "--plot", picture], check=True, cwd=Path(__file__).parents[2], capture_output=True)
    found = json.loads(written.read_text())
    for rate in found["false_alarm_rate"].values():
        assert rate["n"] == 2 and rate["low"] <= 0.01
    assert {one["slowdown"] for one in found["power"]} == {0.1, 0.15, 0.3}
    assert {one["test"] for one in found["cases"]} == {
        "gate",
        "before/after z",
        "canary/control z",
        "anytime-valid",
    }
    waiting = [one for one in found["cases"] if one["traffic"] != "steady"]
    assert {one["traffic"] for one in waiting} == {"thin", "late and slow"}
    assert all(0 <= one["unmeasured"] <= 1 and 60 <= one["last_look_min"] <= 120 for one in waiting)
    assert picture.read_text().startswith("<svg")


@pytest.mark.parametrize("sd", [0.25, 0.01])  # spread over many buckets, and within two
def test_its_arrays_measure_what_the_gate_measures_of_each_board(sd: float):
    rng = np.random.default_rng(3)
    boards, moments = 6, 3
    made = []
    for many in (1, moments):
        counts = rng.integers(40, 200, boards * many)
        logs = 8.5 + sd * rng.standard_normal(int(counts.sum()))
        made.append(bin_up(np.repeat(np.arange(boards * many), counts), logs, boards, many))
    before, since = made
    for member in (True, False):
        found = changes(before, since, 120, member=member)
        for board in range(boards):
            for moment in range(moments):
                reading = Reading({False: before.stretch(board, 0)}, {False: since.stretch(board, moment)})
                wanted = measure(reading, member=member, min_requests=120)
                assert found[board, moment] == pytest.approx(
                    [wanted["latency p50"], wanted["latency p95"]], abs=1e-9, nan_ok=True
                )
    assert np.isnan(found).any() and np.isfinite(found).any()


def test_what_it_spares_itself_changes_no_verdict(monkeypatch: pytest.MonkeyPatch):
    kinds = [kind for kind in waits.KINDS if kind.members == 5]
    monkeypatch.setattr(waits, "KINDS", kinds)
    spared = judge_fleet(5), waits.judge_waiting(5)
    monkeypatch.setattr("benchmarks.gating.cases.plainly_well", lambda drawn, runs, rules: [False] * len(runs))
    assert (judge_fleet(5), waits.judge_waiting(5)) == spared
