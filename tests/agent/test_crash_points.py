"""A seeded sample of the crash points that `scripts/bench crash` enumerates in full."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from benchmarks.crash import SCENARIOS, enumerate_scenario, preload


@pytest.mark.parametrize("name", sorted(SCENARIOS))
@pytest.mark.parametrize("mode", ["kill", "ENOSPC"])
def test_a_fault_at_any_operation_leaves_a_whole_model_serving_and_the_host_well_informed(
    tmp_path: Path, name: str, mode: str
) -> None:
    preload()
    points = sorted(random.Random(f"{name}-{mode}").sample(range(1, 45), 3))
    with ThreadPoolExecutor(4) as pool:
        outcomes = enumerate_scenario(SCENARIOS[name], mode, tmp_path, pool, only=points)
    assert [fault for outcome in outcomes for fault in outcome.faults] == []
