"""Telemetry of thousands of boards over a month: quantiles over any stretch of time, the disk it takes, a device's page.

The store is written row by row as the control plane would have summed it, by the same packing and joining, from days that
were drawn at random: each board has a version a week, and its hours, its days and the fleet's are the sums of one
another. Minutes are written for a few boards, as only a device's own are read to the minute.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from benchmarks.common import arguments, show, write
from benchmarks.fleets.month import DAYS, Month
from edgelift_fleet.db import Database
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.overview import device_detail
from edgelift_fleet.telemetry.query import Question, latency

#: Each question is asked so often; the slowest but one of them counts.
TIMES = 9


def questions(month: Month) -> dict[str, Callable[[Session], Any]]:
    """What an operator asks, by name."""
    end, day, week, whole = month.end, 86400.0, 7 * 86400.0, DAYS * 86400.0
    tag, half = Question(tag="barn=north"), Question(tag="half")

    def ask(wanted: Question, length_s: float, until: float = end) -> Callable[[Session], Any]:
        return lambda session: latency(session, wanted, until - length_s, until, minutes_from=end - 2 * day)

    return {
        "fleet, 30 days": ask(Question(), whole),
        "fleet, 30 days to the hour": ask(Question(), whole - 7 * 3600, end - 5 * 3600),
        "fleet, 30 days in steps of a day": ask(Question(step_s=day), whole),
        "fleet, a week in steps of an hour": ask(Question(step_s=3600.0), week),
        "a class, 30 days": ask(Question(hardware_class="arm64-neon"), whole),
        "a tag of a tenth, 30 days": ask(tag, whole),
        "a tag of a tenth, a day": ask(tag, day),
        "a tag of half, 30 days": ask(half, whole),
        "a tag of half, a day": ask(half, day),
        "a tag of half, 5 days to the hour": ask(half, 5 * day - 7 * 3600, end - 5 * 3600),
        "a board, 30 days": ask(Question(device=month.devices[0]), whole),
        "a board, a day to the minute": ask(Question(device=month.devices[0]), day - 90, end - 30),
        "a board's page": lambda session: device_detail(session, LastSeen(), month.devices[0]),
    }


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
        known = where.exists()
        where.parent.mkdir(parents=True, exist_ok=True)
        db = Database(where)
        db.migrate()
        if not known:
            month.write(db)
        took_s = time.perf_counter() - began
        found, cpu = {}, {}
        for name, ask in questions(month).items():
            times = []
            for _ in range(TIMES):
                with db.read() as session:
                    began, spent = time.perf_counter(), time.thread_time()
                    ask(session)
                    times.append((time.perf_counter() - began, time.thread_time() - spent))
            found[name] = round(1000 * sorted(t for t, _ in times)[-2], 1)
            cpu[name] = round(1000 * sorted(t for _, t in times)[TIMES // 2], 1)
        size_mb = where.stat().st_size / 1e6
        db.close()
    show("telemetry", [[name, found[name], cpu[name]] for name in found], ["asked", "ms", "ms of CPU (median)"])
    figures = {
        "devices": parsed.devices, "days": DAYS, "written_s": round(took_s, 1), "store_mb": round(size_mb, 1),
        "query_ms": found, "query_cpu_ms": cpu, "slowest_ms": max(found.values()),
    }  # fmt: skip
    print({name: value for name, value in figures.items() if name not in ("query_ms", "query_cpu_ms")})
    write(parsed.json, figures)


if __name__ == "__main__":
    main()
