"""A device's timeline: latency, failed requests, and under them what its machine says of itself, on one axis. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edgelift_contract.telemetry import DeviceEvent
from edgelift_fleet.alerts.judge import SLOWED, TEMPERATURES
from edgelift_fleet.console.charts import Lane, Line, Plot, Point, Timeline, TimeMark
from edgelift_fleet.console.words import clock, count, latency, many, size
from edgelift_fleet.messages import GaugeStep, GaugeValue, LatencyGroup, LatencyStep, SwapView

_QUANTILES = ("p50", "p95", "p99")


@dataclass(frozen=True)
class DrawnTimeline:
    """What a timeline is made of; times in seconds since 1970, latencies in microseconds. `hot_c`, `disk_low_bytes`: from
    where on its machine is in trouble.
    """

    device: str
    slot: str
    start: float
    end: float
    step_s: float
    groups: Sequence[LatencyGroup]
    gauges: Sequence[GaugeStep]
    swaps: Sequence[SwapView]
    events: Sequence[DeviceEvent]
    hot_c: float
    disk_low_bytes: int


@dataclass(frozen=True)
class StepNumbers:
    """One step in numbers; None where nothing came. `flags` names what the board complained of."""

    at: float
    version: str
    requests: int
    errors: int
    p50_us: float | None
    p95_us: float | None
    p99_us: float | None
    temperature_c: float | None
    memory_bytes: float | None
    disk_bytes: float | None
    clock_mhz: float | None
    flags: str


def draw(of: DrawnTimeline) -> Timeline:
    """The picture."""
    slowed, weak = spans(of.gauges, SLOWED), spans(of.gauges, ("under_voltage",))
    lanes = [Lane("▲ throttled", slowed, "warn"), Lane("▲ under-voltage", weak, "warn")]
    return Timeline(
        "timeline", f"{of.device} from {clock(of.start)} to {clock(of.end)}", _told(of, slowed, weak),
        of.start, of.end, of.step_s, [*_served(of), *_machine(of)], marks(of), lanes,
    )  # fmt: skip


def _told(of: DrawnTimeline, slowed: Sequence[Point], weak: Sequence[Point]) -> str:
    """What the picture shows, in words, for who can't see it."""
    steps = [step for group in of.groups for step in group.steps]
    told = f"{count(sum(step.ok + step.errors for step in steps))} requests, {count(sum(s.errors for s in steps))} failed."
    totals = [step.phases["total"] for step in steps if "total" in step.phases]
    if totals:
        low, high = min(one.p95_us for one in totals), max(one.p95_us for one in totals)
        told += f" p95 from {latency(low)} to {latency(high)}."
    told += f" {many(len(marks(of)), 'mark')}: {', '.join(mark.label for mark in marks(of)[:12]) or 'none'}."
    if slowed or weak:
        told += f" Throttled in {many(len(slowed), 'stretch', 'stretches')}, under-voltage in {len(weak)}."
    return told + " All numbers stand in the table below."


# --- what it served


def _served(of: DrawnTimeline) -> list[Plot]:
    runs = [_by_time(group) for group in _of_artifact(of.groups)]
    lines = [
        Line(name, [[(_middle(step), getattr(step.phases["total"], f"{name}_us")) for step in run if "total" in step.phases]
                    for run in runs])
        for name in _QUANTILES
    ]  # fmt: skip
    steps = [step for run in runs for step in run]
    asked, failed = sum(step.ok + step.errors for step in steps), sum(step.errors for step in steps)
    found = [Plot(f"Latency of {of.slot}" if of.slot else "Latency", lines, _latency, height=170, log=True)]
    if failed:
        bars = [[(_middle(step), float(step.errors)) for step in run] for run in runs]
        note = f"{count(failed)} of {many(asked, 'request')}"
        found.append(Plot("Failed requests", [Line("failed", bars)], count, note, height=52, bars=True))
    elif asked:
        found[0] = Plot(**{**vars(found[0]), "note": f"none of {many(asked, 'request')} failed"})
    return found


def _latency(us: float) -> str:
    return latency(us) if us else "0"


def _of_artifact(groups: Iterable[LatencyGroup]) -> list[list[LatencyGroup]]:
    """Throttled or not, a version is one line: the lane above says when it was."""
    found: dict[str, list[LatencyGroup]] = {}
    for group in groups:
        found.setdefault(group.artifact, []).append(group)
    return list(found.values())


def _by_time(groups: Sequence[LatencyGroup]) -> list[LatencyStep]:
    """Their steps in order; of two of one time the one with more requests."""
    found: dict[float, LatencyStep] = {}
    for group in groups:
        for step in group.steps:
            other = found.get(step.start)
            if other is None or step.ok + step.errors > other.ok + other.errors:
                found[step.start] = step
    return [found[start] for start in sorted(found)]


def _middle(step: LatencyStep | GaugeStep) -> float:
    return (step.start + step.end) / 2


# --- what its machine says


def _machine(of: DrawnTimeline) -> list[Plot]:
    """Only what the board says: one without a sensor has no panel for it."""
    last = of.gauges[-1].values if of.gauges else {}
    low_bytes = of.disk_low_bytes
    hot = (of.hot_c, "hot") if any((_hottest(step) or 0.0) > 0.8 * of.hot_c for step in of.gauges) else None
    free = _named("disk_free_bytes")
    low = (low_bytes, "low") if any((free(step) or 1e12) < 5 * low_bytes for step in of.gauges) else None
    found = [
        _panel(of, "Temperature", _hottest, lambda value: f"{value:.0f} °C", zero=False, limit=hot),
        _panel(of, "Memory in use", _named("memory_used_bytes"), size, _of_all(last)),
        _panel(of, "Disk free", free, size, limit=low),
        _panel(of, "Clock", _named("cpu_freq_mhz"), _clock),
    ]
    return [panel for panel in found if panel is not None]


def _panel(
    of: DrawnTimeline, title: str, read: Callable[[GaugeStep], float | None], unit: Callable[[float], str],
    note: str = "", *, zero: bool = True, limit: tuple[float, str] | None = None,
) -> Plot | None:  # fmt: skip
    points = [(_middle(step), value) for step in of.gauges if (value := read(step)) is not None]
    if not points:
        return None
    newest = f"last {unit(points[-1][1])}{note}"
    return Plot(title, [Line(title, [points])], unit, newest, height=64, zero=zero, limit=limit)


def _clock(mhz: float) -> str:
    return f"{mhz / 1000:.3g} GHz" if mhz >= 1000 else f"{mhz:.0f} MHz" if mhz else "0"


def _named(name: str) -> Callable[[GaugeStep], float | None]:
    return lambda step: step.values[name].mean if name in step.values else None


def _hottest(step: GaugeStep) -> float | None:
    return max((step.values[name].max for name in TEMPERATURES if name in step.values), default=None)


def _of_all(last: dict[str, GaugeValue]) -> str:
    parts = [last[name].mean for name in ("memory_used_bytes", "memory_available_bytes") if name in last]
    return f" of {size(sum(parts))}" if len(parts) == 2 else ""


# --- what happened


def marks(of: DrawnTimeline) -> list[TimeMark]:
    """Swaps, restarts of the agent and of the board, in order of time."""
    anew = boots(of.gauges)
    mine = [swap for swap in of.swaps if swap.slot == of.slot or not of.slot]
    # A board that restarts has its agent restart, too: one mark tells both.
    alone = [
        swap for swap in mine if swap.reason != "restore" or all(abs(swap.at - at) > 3 * of.step_s for at in anew)
    ]
    found = [TimeMark(swap.at, _swap(swap), _tone(swap)) for swap in alone]
    found += [TimeMark(at, "↻ board", "quiet") for at in anew]
    once = {(round(mark.at), mark.label): mark for mark in found}
    return sorted((mark for mark in once.values() if of.start <= mark.at <= of.end), key=lambda mark: mark.at)


def _swap(swap: SwapView) -> str:
    to = f"@{swap.version_to}" if swap.version_to else "empty"
    return {"update": f"→ {to}", "rollback": f"← back to {to}", "restore": "↻ agent", "empty": "emptied",
            "placebo": f"{to} again"}.get(swap.reason, to)  # fmt: skip


def _tone(swap: SwapView) -> str:
    return {"rollback": "bad", "restore": "quiet", "empty": "quiet"}.get(swap.reason, "busy")


def boots(gauges: Sequence[GaugeStep]) -> list[float]:
    """When the board began anew, seconds since 1970, to a step: it is up for less long than it should be."""
    found: list[float] = []
    known: float | None = None
    for step in gauges:
        if (up := step.values.get("uptime_s")) is None:
            continue
        began = step.start - up.min
        if known is not None and began - known > 1.5 * (step.end - step.start):
            found.append(step.start)
        known = began if known is None else max(known, began)
    return found


def spans(gauges: Sequence[GaugeStep], names: Sequence[str]) -> list[tuple[float, float]]:
    """Stretches of time in which one of these gauges was set, in any part of a step; steps that touch are one."""
    found: list[tuple[float, float]] = []
    for step in gauges:
        if not any(name in step.values and step.values[name].max > 0 for name in names):
            continue
        if found and step.start - found[-1][1] < 1:
            found[-1] = (found[-1][0], step.end)
        else:
            found.append((step.start, step.end))
    return found


def rows(of: DrawnTimeline) -> list[StepNumbers]:
    """The numbers of the picture step by step, newest first; a step in which two versions served has two."""
    machine = {step.start: step.values for step in of.gauges}
    served = [(step.start, group.version, step) for group in of.groups for step in group.steps]
    there = {start for start, _, _ in served}
    alone = [(start, "", None) for start in machine if start not in there]
    return [
        _row(start, version, step, machine.get(start, {}))
        for start, version, step in sorted([*served, *alone], key=lambda one: one[:2], reverse=True)
    ]


def _row(start: float, version: str, step: LatencyStep | None, values: dict[str, GaugeValue]) -> StepNumbers:
    mean = {name: value.mean for name, value in values.items()}
    flags = [name.replace("_", "-") for name in (*SLOWED, "under_voltage") if mean.get(name)]
    return StepNumbers(
        start, version, step.ok + step.errors if step else 0, step.errors if step else 0,
        *_quantiles_of(step),
        max((values[name].max for name in TEMPERATURES if name in values), default=None),
        mean.get("memory_used_bytes"), mean.get("disk_free_bytes"), mean.get("cpu_freq_mhz"), ", ".join(flags),
    )  # fmt: skip


def _quantiles_of(step: LatencyStep | None) -> tuple[float | None, float | None, float | None]:
    total = step.phases.get("total") if step is not None else None
    return (total.p50_us, total.p95_us, total.p99_us) if total is not None and total.count else (None, None, None)
