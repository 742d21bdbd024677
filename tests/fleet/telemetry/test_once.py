"""Exactly once: whatever comes in whatever order, however often, and whenever it is summed or forgotten, the totals
are those of the set of distinct items.
"""

import tempfile
import time
from functools import cache
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edgelift_contract.histogram import merge_all
from edgelift_contract.telemetry import DeviceEvent, Gauges, Window
from edgelift_fleet import telemetry
from edgelift_fleet.db import ROWS, Database
from edgelift_fleet.telemetry import query
from edgelift_fleet.telemetry.fold import fold
from edgelift_fleet.telemetry.query import Question
from edgelift_fleet.telemetry.retention import Ages, sweep
from tests.fleet.telemetry.conftest import batch, make_database, window

DEVICES = {"pi-1": "arm64-neon", "pc-1": "x86-64-avx2"}
NOW = time.time() // 3600 * 3600
DAY = 86400


def item(device: str, epoch: str, seq: int) -> object:
    """What an outbox says under a number: always the same."""
    n = (seq * 7919 + len(epoch) * 31 + len(device)) % 1000
    if n % 5 == 0:
        return Gauges(start=NOW - 60 * n, end=NOW - 60 * n + 60, values={"soc_temp_c": float(n)})
    if n % 7 == 0:
        return DeviceEvent(at=NOW, kind="agent-started")
    return window(
        NOW - 3600 * n % (3 * DAY), [100.0 + n, 5000.0 + 3 * n], version=str(1 + n % 2), throttled=n % 3 == 0,
        probation=n % 11 == 0,
    )  # fmt: skip


@cache
def _empty() -> bytes:
    """A database with the devices and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "t.db"
        make_database(file, DEVICES).close()
        return file.read_bytes()


SEQS = st.lists(st.integers(0, 40), min_size=1, max_size=12)


class Deliveries(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        file = Path(self.folder.name) / "t.db"
        file.write_bytes(_empty())
        self.db = Database(file)
        self.came: set[tuple[str, str, int]] = set()

    def teardown(self) -> None:
        self.db.close()
        self.folder.cleanup()

    @rule(
        parts=st.lists(st.tuples(st.sampled_from(list(DEVICES)), st.sampled_from(["a", "bb"]), SEQS), max_size=4)
    )
    def deliver(self, parts: list[tuple[str, str, list[int]]]) -> None:
        batches = [batch(d, {}, e) for d, e, _ in parts]
        for one, (d, e, seqs) in zip(batches, parts, strict=True):
            for seq in seqs:  # one number may come twice in one batch
                one.items.extend(batch(d, {seq: item(d, e, seq)}, e).items)
        with self.db.write(ROWS) as session:
            new = telemetry.store_many(session, batches)
        expected = []
        for d, e, seqs in parts:
            fresh = {(d, e, seq) for seq in seqs} - self.came
            self.came |= fresh
            expected.append(len(fresh))
        assert new == expected

    @rule(at_most=st.integers(1, 30))
    def sum_some(self, at_most: int) -> None:
        with self.db.write(ROWS) as session:
            fold(session, at_most=at_most)

    @rule()
    def forget_minutes(self) -> None:
        with self.db.write(ROWS) as session:
            sweep(session, Ages(minutes=1e-9, hours=0, notes=0, days=0), now=time.time() + 1)

    @rule()
    def forget_hours(self) -> None:
        with self.db.write(ROWS) as session:
            sweep(session, Ages(minutes=1e-9, hours=1e-9, notes=0, days=0), now=time.time() + 1)

    @invariant()
    def everything_counts_once(self) -> None:
        if not hasattr(self, "came"):
            return
        items = {(d, e, s): item(d, e, s) for d, e, s in self.came}
        windows = [(d, w) for (d, _, _), w in items.items() if isinstance(w, Window)]
        with self.db.read() as session:
            fleet = query.latency(session, Question(phases=("total",)), 0, NOW + DAY)
            one = query.latency(session, Question(device="pi-1"), 0, NOW + DAY, minutes_from=NOW)
            pages = {d: telemetry.latency_by_version(session, d) for d in DEVICES}
            counts = {d: telemetry.count_windows(session, d) for d in DEVICES}
            events = {d: len(telemetry.events(session, d, limit=1000)) for d in DEVICES}
        for d in DEVICES:
            mine = [w for device, w in windows if device == d]
            assert counts[d] == len(mine) == sum(v.windows for v in pages[d])
            for v in pages[d]:
                same = [w for w in mine if w.version == v.version]
                assert (v.windows, v.ok) == (len(same), sum(w.ok for w in same))
                assert v.total == telemetry.quantiles(_joined(same))
                assert (v.start, v.end) == (min(w.start for w in same), max(w.end for w in same))
            assert events[d] == sum(
                isinstance(i, DeviceEvent) for (device, _, _), i in items.items() if device == d
            )
        assert sum(g.windows for g in fleet.groups) == len(windows)
        for g in fleet.groups:
            same = [
                w for d, w in windows
                if (w.version, w.throttled, DEVICES[d]) == (g.version, g.throttled, g.hardware_class)
            ]  # fmt: skip
            assert (g.windows, g.phases["total"]) == (len(same), telemetry.quantiles(_joined(same)))
        assert sum(g.windows for g in one.groups) == sum(d == "pi-1" for d, _ in windows)


def _joined(windows: list[Window]):
    from edgelift_fleet.telemetry.packing import pack_part

    return pack_part(merge_all(w.latency_us["total"] for w in windows).to_data())


Deliveries.TestCase.settings = settings(max_examples=30, stateful_step_count=12, deadline=None)
test_deliveries = Deliveries.TestCase
