"""What must survive: the journal, the outbox, windows; and what they promise when the disk does not play along."""

import contextlib
import sqlite3
import time
from pathlib import Path

import pytest

from edgelift_agent.parts.state_folder import StateFolder
from edgelift_agent.system.clock import SystemClock
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.disk import Disk
from edgelift_agent.telemetry.latency import GenerationKey, LatencyRecorder, Sample
from edgelift_agent.telemetry.outbox import Outbox
from edgelift_agent.testing.faults import FaultyDisk
from edgelift_agent.update.journal import Journal
from edgelift_agent.update.records import SlotRow, UpdateRow
from edgelift_contract.assignment import SlotAssignment
from edgelift_contract.errors import DeviceError
from edgelift_contract.telemetry import DeviceEvent

KEY = GenerationKey("toy", 1, "a" * 64, "toy", "1")


def test_records_survive_a_reopening(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "s.db", Disk(), Degraded(SystemClock()))
    with journal.transaction():
        journal.save_slot("toy", SlotRow(artifact="a" * 64, generation=3))
        journal.save_update("toy", UpdateRow(SlotAssignment("a" * 64, 1, "toy", "1"), 7, state="observing"))
        journal.meta.floors["toy"] = 5
        journal.save_meta()
    journal.close()
    again = Journal(tmp_path / "s.db", Disk(), Degraded(SystemClock()))
    assert again.slots["toy"].generation == 3
    assert (again.updates["toy"].revision, again.updates["toy"].state) == (7, "observing")
    assert again.meta.floors == {"toy": 5}
    again.close()


def test_a_damaged_record_lowers_no_floor(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "s.db", Disk(), Degraded(SystemClock()))
    with journal.transaction():
        journal.save_slot("toy", SlotRow(artifact="a" * 64))
        journal.meta.floors |= {"toy": 5, "face": 2}
        journal.save_meta()
    journal.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "s.db")) as database, database:
        database.execute("UPDATE records SET body = 'spoilt' WHERE kind = 'meta'")
    for _ in range(2):  # what is recovered is also written
        again = Journal(tmp_path / "s.db", Disk(), Degraded(SystemClock()))
        assert again.meta.floors == {"toy": 5, "face": 2}
        with again.transaction():
            again.save_slot("toy", SlotRow(artifact="b" * 64))
        again.close()


@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EROFS"])
def test_a_commit_that_fails_changes_nothing_in_memory_either(tmp_path: Path, error: str) -> None:
    journal = Journal(
        tmp_path / "s.db", FaultyDisk(error, "any/commit s.db/1", root=tmp_path), Degraded(SystemClock())
    )
    with pytest.raises(DeviceError), journal.transaction():
        journal.save_slot("toy", SlotRow(generation=3))
    assert journal.slots == {}
    with journal.transaction():
        journal.save_slot("toy", SlotRow(generation=4))
    assert journal.slots["toy"].generation == 4
    journal.close()


def test_a_damaged_database_is_put_aside_and_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(b"this is not a database, but it is long enough to be looked at" * 20)
    journal = Journal(path, Disk(), Degraded(SystemClock()))
    assert journal.recovered
    assert (tmp_path / "s.db.damaged").exists()
    journal.close()


def test_the_outbox_keeps_order_and_drops_only_what_was_confirmed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "s.db", Disk(), Degraded(SystemClock()))
    outbox = Outbox(journal, Disk())
    outbox.add([DeviceEvent(at=float(n), kind="k", message="x" * 100) for n in range(50)])
    first = outbox.peek(limit_bytes=1000)
    assert 1 < len(first) < 50
    outbox.confirm(first)
    rest = outbox.peek(limit_bytes=1 << 20)
    assert [item.seq for item in first + rest] == list(range(1, 51))
    assert outbox.waiting() == 50 - len(first)
    outbox.confirm(rest)
    outbox.add([DeviceEvent(at=0.0, kind="k")])
    assert outbox.peek()[0].seq == 51  # a number is never used twice
    journal.close()


def test_windows_count_every_request_and_split_by_throttling() -> None:
    recorder = LatencyRecorder(0.0)
    for n in range(100):
        recorder.throttled = n >= 60
        recorder.record(KEY, Sample(1, 2, 300 + n, 4, 310 + n))
    recorder.record_error(KEY)
    windows = {w.throttled: w for w in recorder.close_windows(60.0)}
    assert (windows[False].ok, windows[True].ok, windows[True].errors) == (60, 40, 1)
    assert windows[False].latency_us["infer"].count == 60
    served = recorder.served(KEY)
    assert (served.ok, served.errors) == (100, 1)
    assert recorder.close_windows(120.0) == []


def test_recording_is_cheap() -> None:
    recorder = LatencyRecorder(0.0)
    sample = Sample(1, 2, 300, 4, 310)
    began = time.thread_time()
    for _ in range(20_000):
        recorder.record(KEY, sample)
    # A bound that only a change of order breaks: the figure itself is scripts/bench's business. Time of this thread's
    # own: what others do meanwhile doesn't count.
    assert (time.thread_time() - began) / 20_000 < 200e-6


def test_a_folder_that_cannot_even_be_looked_at_is_a_fault_of_the_disk(tmp_path: Path) -> None:
    # The system refuses to look a name up: here for its length, on a broken card for anything.
    unseen = tmp_path / ("x" * 300)
    with pytest.raises(DeviceError):
        Disk().make_folder(unseen)
    degraded = Degraded(SystemClock())
    folder = StateFolder(unseen, Disk(), degraded)
    assert {fault.part for fault in degraded.reasons()} >= {"state-folder", "journal"}
    folder.queue.add([DeviceEvent(at=0.0, kind="k")])
    assert folder.queue.waiting() == 1
    folder.close()
