"""`scripts/bench gates` runs and says what its JSON promises; its figures are its own business."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmarks import gates
from benchmarks.gating import waits
from benchmarks.gating.binned import bin_up, changes
from benchmarks.gating.cases import Outcome, judge_fleet
from benchmarks.gating.kept import ALL, Kept

from edgelift_fleet.rollout.gates.measure import Reading, measure
from tests.waiting import until

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


def test_who_stops_it_has_the_figures_so_far_and_goes_on_from_there(tmp_path: Path):
    kept, written = tmp_path / "kept", tmp_path / "gates.json"
    command = [sys.executable, "-m", "benchmarks.gates", "--jobs", "1", "--kept", kept, "--json", written]
    bench = subprocess.Popen([*command, "--fleets", "1000"], cwd=Path(__file__).parents[2], stderr=subprocess.PIPE)
    until(lambda: bool(Kept(kept).found) or bench.poll() is not None, "a fleet")
    bench.terminate()
    _, told = bench.communicate()
    found = Kept(kept).found
    assert bench.returncode == 1 and f"stopped after {len(found)} of 1000 fleets" in told.decode()
    assert json.loads(written.read_text())["fleets"] == len(found) >= 1
    assert gates._run(range(len(found)), 1, Kept(kept)) == (list(found.values()), False)  # nothing is left to do


def test_a_line_that_was_cut_off_is_one_fleet_less_and_another_file_is_refused(tmp_path: Path):
    kept, said = tmp_path / "kept", {ALL[0]: Outcome(10), ALL[-1]: Outcome(None, True, 120)}
    Kept(kept).add(0, said)
    Kept(kept).add(1, said)
    whole = kept.read_text()
    kept.write_text(whole[:-5])
    assert Kept(kept).found == {0: said}
    Kept(kept).add(1, said)
    assert Kept(kept).found == {0: said, 1: said}
    kept.write_text(whole.replace("/gate", "/another"))
    with pytest.raises(SystemExit, match="other cases"):
        Kept(kept)


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
        found = changes(before, since, 120, member=np.full(boards, member))
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
    monkeypatch.setattr(
        "benchmarks.gating.judging.to_be_judged", lambda drawn, runs, rules: [rules.looks] * len(runs)
    )
    assert (judge_fleet(5), waits.judge_waiting(5)) == spared
