"""Telemetry of thousands of boards over a month: quantiles over any stretch of time, the disk it takes, a device's page.

The store is written row by row as the control plane would have summed it, by the same packing and joining, from days that
were drawn at random: each board has a version a week, and its hours, its days and the fleet's are the sums of one
another. Minutes and gauges are written for a few boards: only a device's own are read to the minute, and what all boards'
would take on the disk is theirs times all. A tag's questions are asked twice: before anything is remembered of its
boards, and once the keeper's thread has made their sums.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from benchmarks.common import arguments, show, write
from benchmarks.fleets.month import DAYS, Month
from edgelift_fleet.db import ROWS, Database
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.overview import device_detail
from edgelift_fleet.tables import TelemetryCohortRow, TelemetryCohortSumRow
from edgelift_fleet.telemetry.cohorts import AskedCohorts
from edgelift_fleet.telemetry.fold import fold
from edgelift_fleet.telemetry.query import Question, latency
from edgelift_fleet.telemetry.retention import Ages
from edgelift_fleet.telemetry.warming import Warming

#: Each question is asked so often; the slowest but one of them counts.
TIMES = 9
_DAY = 86400.0
_WEEK, _WHOLE = 7 * _DAY, DAYS * _DAY


#: A month of 5,000 boards must fit in.
DISK_GB = 15.0
#: Windows that wait for being summed: those that so many boards send in half a minute.
WAITING = 2500


def ask(month: Month, wanted: Question, length_s: float, ago_s: float = 0.0) -> Callable[..., Any]:
    """A question about a stretch of the month that ended so long before its end."""
    until = month.end - ago_s
    return lambda session, asked=None: latency(
        session, wanted, until - length_s, until, minutes_from=month.end - 2 * _DAY, asked=asked
    )


def questions(month: Month) -> dict[str, Callable[..., Any]]:
    """What an operator asks of the fleet and of one board, by name."""
    one = Question(device=month.devices[0])
    return {
        "fleet, 30 days": ask(month, Question(), _WHOLE),
        "fleet, 30 days to the hour": ask(month, Question(), _WHOLE - 7 * 3600, 5 * 3600),
        "fleet, 30 days in steps of a day": ask(month, Question(step_s=_DAY), _WHOLE),
        "fleet, a week in steps of an hour": ask(month, Question(step_s=3600.0), _WEEK),
        "a class, 30 days": ask(month, Question(hardware_class="arm64-neon"), _WHOLE),
        "a board, 30 days": ask(month, one, _WHOLE),
        "a board, a day to the minute": ask(month, one, _DAY - 90, 30),
        "a board's page": lambda session, _asked=None: device_detail(session, LastSeen(), month.devices[0]),
    }


def of_tags(month: Month) -> dict[str, Callable[..., Any]]:
    """What he asks of boards with a tag."""
    found: dict[str, Callable[..., Any]] = {}
    for name, tag in (("a tenth", "barn=north"), ("half", "half"), ("every board", "every")):
        by_day, by_hour = Question(tag=tag, step_s=_DAY), Question(tag=tag, step_s=3600.0)
        found |= {
            f"a tag of {name}, 30 days": ask(month, Question(tag=tag), _WHOLE),
            f"a tag of {name}, a day": ask(month, Question(tag=tag), _DAY),
            f"a tag of {name}, 5 days to the hour": ask(month, Question(tag=tag), 5 * _DAY - 7 * 3600, 5 * 3600),
            f"a tag of {name}, 30 days in steps of a day": ask(month, by_day, _WHOLE),
        }
        if name != "every board":
            found[f"a tag of {name}, a week in steps of an hour"] = ask(month, by_hour, _WEEK)
    return found | {
        "a tag of half and a class, 30 days": ask(
            month, Question(tag="half", hardware_class="arm64-neon"), _WHOLE
        ),
        "a tag of half, a version, 30 days": ask(month, Question(tag="half", version="3"), _WHOLE),
    }


class Times(NamedTuple):
    """What a question took, milliseconds."""

    wall: float
    cpu: float


def timed(db: Database, question: Callable[..., Any], asked: AskedCohorts | None = None) -> Times:
    """Ask once, in a transaction of its own."""
    with db.read() as session:
        began, spent = time.perf_counter(), time.thread_time()
        question(session, asked)
        return Times(1000 * (time.perf_counter() - began), 1000 * (time.thread_time() - spent))


def often(db: Database, asked: Mapping[str, Callable[..., Any]]) -> dict[str, Times]:
    """Of each the slowest but one, and the median of what it cost."""
    found = {}
    for name, question in asked.items():
        times = [timed(db, question) for _ in range(TIMES)]
        found[name] = Times(sorted(t.wall for t in times)[-2], sorted(t.cpu for t in times)[TIMES // 2])
    return found


def warm(db: Database, asked: AskedCohorts) -> dict[str, float]:
    """Make the sums of what was asked for, as the keeper's thread does; what that cost."""
    warming = Warming(db.read, db.write, db.write, Ages(), asked)
    began, slices, longest = time.thread_time(), 0, 0.0
    warming.note(time.time())
    while True:
        at = time.perf_counter()
        if not warming.make_some(time.time()):
            break
        slices, longest = slices + 1, max(longest, time.perf_counter() - at)
    return {
        "warm_cpu_s": round(time.thread_time() - began, 2), "warm_slices": slices,
        "warm_slice_longest_ms": round(1000 * longest, 1),
    }  # fmt: skip


def fold_ms(db: Database) -> float:
    """CPU of summing what waits, one transaction."""
    with db.write(ROWS) as session:
        spent = time.thread_time()
        fold(session, at_most=WAITING)
        return round(1000 * (time.thread_time() - spent), 1)


def measure(db: Database, month: Month) -> dict[str, Any]:
    """All questions: a tag's the first time, and when its boards' sums are remembered; and while windows wait."""
    asked, tags = AskedCohorts(), of_tags(month)
    month.waiting(db, WAITING)
    alone = fold_ms(db)
    first = {name: timed(db, question, asked) for name, question in tags.items()}
    made = warm(db, asked)
    further = often(db, questions(month) | tags)
    month.waiting(db, WAITING)
    waited = {
        f"{name}, {WAITING} windows wait": tags[name] for name in tags if name.startswith("a tag of half, 30")
    }
    further |= often(db, waited)
    with db.read() as session:
        row = TelemetryCohortSumRow
        held = session.execute(sa.select(sa.func.count(), sa.func.sum(sa.func.length(row.body)))).one()
    return {
        "first_ms": {name: round(t.wall, 1) for name, t in first.items()},
        "first_cpu_ms": {name: round(t.cpu, 1) for name, t in first.items()},
        "query_ms": {name: round(t.wall, 1) for name, t in further.items()},
        "query_cpu_ms": {name: round(t.cpu, 1) for name, t in further.items()},
        "slowest_ms": round(max(t.wall for t in further.values()), 1),
        "fold_cpu_ms": {"without": alone, "remembered": fold_ms(db)},
        "cohort_rows": held[0], "cohort_mb": round((held[1] or 0) / 1e6, 2),
    } | made  # fmt: skip


def disk(month: Month) -> dict[str, Any]:
    """What the month takes: hours and days as they were written, minutes and gauges of a few boards times all."""
    tables = month.disk_bytes(2.0)
    whole, measured = sum(tables.values()) / 1e9, sum(size for _, size in month.written.values()) / 1e9
    return {
        "disk_gb": round(whole, 2), "disk_goal_gb": DISK_GB, "measured_gb": round(measured, 3),
        "disk_mb": {name: round(size / 1e6, 1) for name, size in tables.items()},
        "bytes_a_row": {name: round(size / rows, 1) for name, (rows, size) in month.written.items() if rows},
    }  # fmt: skip


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--devices", type=int, default=5000)
    parser.add_argument(
        "--keep", type=Path, help="folder of the store, to ask it again; made when it is not there"
    )
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgelift-month-") as folder:
        where = (parsed.keep or Path(folder)) / "month.db"
        month, began = Month(parsed.devices), time.perf_counter()
        written, known = where.with_suffix(".json"), where.exists()
        where.parent.mkdir(parents=True, exist_ok=True)
        with closing(Database(where)) as db:
            db.migrate()
            if known:
                month.written = msgspec.json.decode(written.read_bytes(), type=dict[str, tuple[int, int]])
                forget_cohorts(db)
            else:
                month.write(db)
                written.write_bytes(msgspec.json.encode(month.written))
            took_s = time.perf_counter() - began
            found = measure(db, month)
    first = found["first_ms"]
    rows = [
        [name, first.get(name, ""), found["first_cpu_ms"].get(name, ""), found["query_ms"][name], cpu]
        for name, cpu in found["query_cpu_ms"].items()
    ]
    show("telemetry", rows, ["asked", "first: ms", "its CPU", "then: ms", "its CPU (median)"])
    figures = {"devices": parsed.devices, "days": DAYS, "written_s": round(took_s, 1)} | disk(month) | found
    print({name: value for name, value in figures.items() if not name.startswith(("query", "first"))})
    write(parsed.json, figures)


def forget_cohorts(db: Database) -> None:
    """As if nobody had asked: a store that is kept was asked before."""
    with db.write(ROWS) as session:
        for table in (TelemetryCohortSumRow, TelemetryCohortRow):
            session.execute(sa.delete(table))


if __name__ == "__main__":
    main()
