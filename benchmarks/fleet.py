"""The control plane under hundreds to thousands of boards: told, done, polled, waiting, telemetry; goosebit beside it.

The server is a process on one core, the boards and clients are this process on the other; the broker runs where there
is room. Figures of one run only are compared with one another; `growth` is each figure's slope over the number of
boards, both as logarithms, by MQTT, and `growth_http` by HTTP. `idle_core_pct` is what the server takes before
it has any board, which `waiting_core_pct` has in it. `query_p95_ms` is the slowest of `queries_p95_ms`, which
names what is asked; `queries_behind_p95_ms` are the same while the windows of the rates before still wait to be summed.
`page_p95_ms` is likewise the slowest of `pages_p95_ms`, of the console's pages, and `console_idle_core_pct` is what ten
people who look at its front page add while nothing happens.
"""

import asyncio
import math
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import arguments, show, write
from benchmarks.fleets.goosebit import measure_goosebit
from benchmarks.fleets.looking import console_idle_pct, pages_p95_ms
from benchmarks.fleets.rolling import boards, silence, told_and_done, wait
from benchmarks.fleets.serving import Serving, databases, has_broker, serving
from benchmarks.fleets.storing import BATCH, over_http, over_mqtt, queries_p95_ms
from benchmarks.polls import Shown, measure_polls, pin_server
from edgelift_fleet.garbage import collect_rarely
from edgelift_fleet.telemetry.keeper import FOLD_AT

CLIENTS = 32
#: Figures that should be the larger, or not grow at all with the fleet: no exponent is asked of them.
NAMES = (
    "told_s", "done_s", "polls_per_s", "poll_p99_ms", "windows_http_batch_per_s", "windows_http_per_s",
    "windows_mqtt_per_s", "waiting_core_pct", "serve_rss_mb", "query_p95_ms", "cpu_ms_per_board",
    "page_p95_ms", "console_idle_core_pct",
)  # fmt: skip


def measure(
    devices: int, database: str, seconds: float, *, signed: bool = True, certified: bool = True
) -> list[dict[str, Any]]:
    """The runs of one size and database: one for each transport; what the transport doesn't touch stands in both."""
    with (
        tempfile.TemporaryDirectory(prefix="edgelift-fleet-") as folder,
        serving(Path(folder), database, signed=signed, certified=certified) as server,
    ):
        pin_server(server.pid)
        transports = ["mqtt", "http"] if has_broker() else ["http"]
        found, waiting, looked, idle = [], 0.0, 0.0, server.core_pct(4 * seconds)
        for transport in transports:
            version = str(transports.index(transport) * 2 + 1)
            with boards(server, devices, transport) as simulation:
                pin_server(server.pid)  # threads that it began since
                figures = told_and_done(server, simulation, f"digits@{version}")
                if transport == transports[0]:
                    with silence(server, simulation, "digits@2"):
                        waiting = round(server.core_pct(4 * seconds), 2)
                        looked = console_idle_pct(server, 8 * seconds)
                figures["serve_rss_mb"] = round(server.rss_mb(), 1)
            found.append({"devices": devices, "database": database, "transport": transport, **figures})
            print(found[-1], file=sys.stderr)
        shared: dict[str, Any] = {
            "waiting_core_pct": waiting, "idle_core_pct": round(idle, 2), "console_idle_core_pct": looked,
        }  # fmt: skip
        shared |= _polled(server, devices, seconds) | _stored(server, seconds)
        pages = pages_p95_ms(server)
        shared |= {"page_p95_ms": max(pages.values()), "pages_p95_ms": pages}
        print(shared, file=sys.stderr)
        return [one | shared for one in found]


def _polled(server: Serving, devices: int, seconds: float) -> dict[str, Any]:
    names = [f"bench-{n + 1:05d}" for n in range(devices)]
    shown = Shown(server.boards, server.site / "secrets" / "authority") if server.certified else None
    found = measure_polls(server.url, server.token, names, CLIENTS, seconds, shown=shown)
    return {name: found[name] for name in ("polls_per_s", "poll_p99_ms", "body_polls_per_s")}


def _stored(server: Serving, seconds: float) -> dict[str, Any]:
    """Windows a second each way, and what one costs the server of a core, microseconds."""
    ways = {
        "windows_http_batch": lambda: over_http(server, seconds, windows=BATCH, clients=8, first=0),
        "windows_http": lambda: over_http(server, seconds, windows=1, clients=CLIENTS, first=100),
        "windows_mqtt": lambda: over_mqtt(server, seconds, clients=CLIENTS, first=200),
    }
    if not has_broker():
        del ways["windows_mqtt"]
    found: dict[str, Any] = {}
    for name, way in ways.items():
        spent = server.cpu_s()
        stored, took_s = asyncio.run(way())
        found[f"{name}_per_s"] = round(stored / took_s, 1)
        found[f"{name}_cpu_us"] = round(1e6 * (server.cpu_s() - spent) / stored, 1)
    behind = queries_p95_ms(server)
    wait(lambda: server.waiting_windows() < FOLD_AT, "telemetry summed")
    asked = queries_p95_ms(server)
    return found | {"query_p95_ms": max(asked.values()), "queries_p95_ms": asked, "queries_behind_p95_ms": behind}


def growth(runs: list[dict[str, Any]], transport: str) -> dict[str, float]:
    """Exponents from the smallest to the largest fleet of a run's first database, as log-log slopes: 1 is in proportion."""
    one_way = [r for r in runs if r["database"] == runs[0]["database"] and r["transport"] == transport]
    if len(one_way) < 2:
        return {}
    small, large = min(one_way, key=_size), max(one_way, key=_size)
    steps = math.log(large["devices"] / small["devices"])
    return {
        name: round(math.log(large[name] / small[name]) / steps, 2)
        for name in NAMES
        if small.get(name) and large.get(name)
    }


def _size(run: dict[str, Any]) -> int:
    return int(run["devices"])


def top(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of 5,000 boards on SQLite, else of what comes nearest."""
    sqlite = [run for run in runs if run["database"] == "sqlite"] or runs
    chosen = min(sqlite, key=lambda run: abs(run["devices"] - 5000))
    return {name: chosen[name] for name in ("devices", *NAMES) if name in chosen}


def _beside(seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="edgelift-goosebit-") as folder:
        return measure_goosebit(Path(folder), CLIENTS, seconds)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--devices", nargs="+", default=["500,1000,2000,5000"], metavar="N", help="how many boards; or N,N…"
    )
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="sqlite")
    parser.add_argument("--seconds", type=float, default=5.0, help="that each rate is measured over")
    parser.add_argument("--unsigned", action="store_true", help="on a site that signs nothing")
    parser.add_argument("--plain", action="store_true", help="over plain HTTP, by a token that all boards share")
    parser.add_argument("--no-goosebit", action="store_true", help="without the comparison")
    parsed = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by the way out that ends every server
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    collect_rarely()  # as the server does, and edgelift simulate
    sizes = sorted({int(text) for given in parsed.devices for text in given.split(",")})
    runs: list[dict[str, Any]] = []
    for database in databases(parsed.database):
        for devices in sizes:
            runs += measure(
                devices, database, parsed.seconds, signed=not parsed.unsigned, certified=not parsed.plain
            )
            write(parsed.json, {"runs": runs})  # what there is, should a later one fail
    figures: dict[str, Any] = {"runs": runs, **top(runs)}
    figures |= {"growth": growth(runs, runs[0]["transport"]), "growth_http": growth(runs, "http")}
    if not parsed.no_goosebit:
        figures |= _beside(parsed.seconds)
        figures["poll_ratio"] = round(figures["polls_per_s"] / figures["goosebit_polls_per_s"], 2)
    columns = ["devices", "database", "transport", *NAMES]
    show("the control plane under a fleet", [[run.get(name, "") for name in columns] for run in runs], columns)
    print({name: value for name, value in figures.items() if name not in ("runs", *NAMES)})
    write(parsed.json, figures)


if __name__ == "__main__":
    main()
