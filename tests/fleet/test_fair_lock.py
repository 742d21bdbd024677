"""Who asks first has it first; and one writer's groups let others in between."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from edgelift_fleet.db import ROWS, Database
from edgelift_fleet.fair_lock import FairLock


def _until(so: Callable[[], bool]) -> None:
    while not so():
        time.sleep(0.001)


def test_threads_have_it_in_the_order_of_their_asking() -> None:
    lock, order, threads = FairLock(), [], []

    def ask(name: int) -> None:
        with lock.held(60):
            order.append(name)

    with lock.held(60) as ours:
        assert ours
        for name in range(8):
            threads.append(threading.Thread(target=ask, args=(name,)))
            threads[-1].start()
            _until(lambda: lock.waiting == len(threads))
        order.append(-1)
    for thread in threads:
        thread.join()
    assert order == [-1, *range(8)]


def test_who_gave_up_is_passed_over() -> None:
    lock, order = FairLock(), []

    def ask(name: str, patience_s: float) -> None:
        with lock.held(patience_s) as ours:
            order.append((name, ours))

    with lock.held(60):
        first = threading.Thread(target=ask, args=("impatient", 0.0))
        first.start()
        first.join()
        second = threading.Thread(target=ask, args=("patient", 60))
        second.start()
        _until(lambda: lock.waiting == 1)
    second.join()
    with lock.held(0) as ours:
        assert ours  # nobody holds it any more
    assert order == [("impatient", False), ("patient", True)]


def test_a_fault_inside_lets_it_go() -> None:
    lock = FairLock()
    try:
        with lock.held(60):
            raise ValueError
    except ValueError:
        pass
    with lock.held(0) as ours:
        assert ours


def test_whoever_writes_group_after_group_lets_another_write_in_between(tmp_path: Path) -> None:
    db = Database(tmp_path / "fleet.db")
    db.migrate()
    wrote: list[str] = []
    asked = threading.Event()

    def other() -> None:
        asked.set()
        with db.write(ROWS) as session:
            session.execute(sa.text("SELECT 1"))
            wrote.append("other")

    thread = threading.Thread(target=other)
    with db.write(ROWS):
        thread.start()
        asked.wait()
        _until(lambda: db.waiting_writes == 1)
    for _ in range(3):  # asks again at once, as the inbox does
        with db.write(ROWS):
            wrote.append("group")
    thread.join()
    assert wrote[0] == "other"
    db.close()
