"""Weeks offline stay small, and nothing that was measured is lost."""

from pathlib import Path

import numpy as np
import pytest

from edgelift_agent.system.clock import SystemClock
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.disk import Disk
from edgelift_agent.telemetry.compact import compact, join_gauges, join_windows
from edgelift_agent.telemetry.latency import GenerationKey, LatencyRecorder, Sample
from edgelift_agent.telemetry.outbox import Outbox
from edgelift_agent.update.journal import Journal
from edgelift_contract.histogram import Histogram, merge_all
from edgelift_contract.telemetry import DeviceEvent, Gauges, Item, Window

KEY = GenerationKey("digits", 3, "a" * 64, "digits", "2")


def minute(number: int, rng: np.random.Generator, values: list[float]) -> Window:
    recorder = LatencyRecorder(number * 60.0)
    for _ in range(3):
        total = float(rng.lognormal(6, 0.4))
        values.append(total)
        recorder.record(KEY, Sample(2.0, 20.0, total - 40, 15.0, total))
    (window,) = recorder.close_windows(number * 60.0 + 60.0)
    return window


def test_thirty_days_offline_stay_under_a_megabyte_and_keep_their_quantiles(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "s.db", Disk(), Degraded(SystemClock()))
    journal.connection.execute("PRAGMA synchronous=OFF")  # this test is about size, not about power cuts
    outbox = Outbox(journal, Disk())
    rng, values = np.random.default_rng(0), []
    gauges = {
        "cpu_pct": 12.5,
        "memory_used_bytes": 4.2e8,
        "soc_temp_c": 51.0,
        "load_1m": 0.4,
        "disk_free_bytes": 9e9,
    }
    most = 0
    for day in range(30):
        for step in range(0, 1440, 40):
            items = []
            for number in range(day * 1440 + step, day * 1440 + step + 40):
                items += [
                    minute(number, rng, values),
                    Gauges(start=number * 60.0, end=number * 60.0 + 60, values=gauges),
                ]
            outbox.add(items)
            if outbox.waiting_bytes() > 800_000:
                outbox.compact(600_000)
            most = max(most, outbox.waiting_bytes())
    assert most < 1_000_000
    kept = [item for item in drain(outbox) if item.window is not None]
    assert sum(item.window.ok for item in kept) == len(values) == 30 * 1440 * 3
    merged = merge_all(item.window.latency_us["total"] for item in kept)
    for q in (0.5, 0.95, 0.99):
        assert merged.quantile(q) == pytest.approx(float(np.quantile(values, q)), rel=0.0225)
    journal.close()


def drain(outbox: Outbox) -> list[Item]:
    items: list[Item] = []
    while batch := outbox.peek():
        outbox.confirm(batch)
        items += batch
    return items


def test_the_batch_that_may_be_on_its_way_is_left_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "s.db", Disk(), Degraded(SystemClock()))
    outbox = Outbox(journal, Disk())
    rng = np.random.default_rng(0)
    outbox.add([minute(n, rng, []) for n in range(400)])
    offered = outbox.peek()
    outbox.compact(1)
    assert outbox.peek()[: len(offered)] == offered
    numbers = [item.seq for item in drain(outbox)]
    assert len(numbers) == len(set(numbers))
    journal.close()


def test_generations_and_throttle_states_are_never_mixed() -> None:
    rng = np.random.default_rng(0)
    one = minute(0, rng, [])
    import msgspec

    other = msgspec.structs.replace(one, generation=4, start=60.0, end=120.0)
    hot = msgspec.structs.replace(one, throttled=True, start=60.0, end=120.0)
    assert compact([Item(1, window=one), Item(2, window=other), Item(3, window=hot)]) == []


def test_windows_further_apart_than_a_day_stay_apart() -> None:
    rng = np.random.default_rng(0)
    assert compact([Item(1, window=minute(0, rng, [])), Item(2, window=minute(2000, rng, []))]) == []


def test_joining_adds_up() -> None:
    rng = np.random.default_rng(0)
    a, b = minute(0, rng, []), minute(1, rng, [])
    joined = join_windows(a, b)
    assert (joined.start, joined.end, joined.ok) == (0.0, 120.0, 6)
    assert Histogram.from_data(joined.latency_us["infer"]).count == 6
    worst = join_gauges(
        Gauges(start=0, end=60, values={"soc_temp_c": 80.0, "cpu_pct": 10.0, "load_1m": 1.0}),
        Gauges(start=60, end=120, values={"soc_temp_c": 50.0, "cpu_pct": 30.0, "load_1m": 2.0}),
    )
    assert worst.values == {"soc_temp_c": 80.0, "cpu_pct": 20.0, "load_1m": 2.0}


def test_repeated_events_of_one_kind_become_the_last_one() -> None:
    events = [Item(n, event=DeviceEvent(at=float(n), kind="throttled")) for n in range(5)]
    changes = compact(events)
    assert sorted(item.seq for old, new in changes for item in old) == [0, 1, 2, 3]
    assert all(new is None for _, new in changes)
