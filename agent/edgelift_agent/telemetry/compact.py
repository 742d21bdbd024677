"""Making telemetry smaller without losing it: neighbouring windows become one longer window.

Histograms merge exactly, so quantiles lose no accuracy, only time resolution. Pure: items in, items out.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgelift_contract.histogram import Histogram, HistogramData
from edgelift_contract.telemetry import DeviceEvent, Gauges, Item, LatencyPhase, Window

#: No window grows longer than this, seconds: a day is the coarsest picture that still shows day and night.
LONGEST_S = 86400.0


def compact(items: Sequence[Item]) -> list[tuple[list[Item], Item | None]]:
    """Join pairs of neighbours.

    Args:
        items: in order, oldest first; none of them may have been offered to the host yet.

    Returns:
        What each group of items becomes: (the old items, the one that takes their place). Items that stay as
        they are do not appear. Swap records stay; of events, repetitions of one kind in one slot become one.
    """
    changes: list[tuple[list[Item], Item | None]] = []
    open_windows: dict[object, Item] = {}
    open_gauges: Item | None = None
    last_events: dict[object, Item] = {}
    # By time, not by number: what was merged before has a new number and belongs where it happened.
    for item in sorted(items, key=_when):
        if item.window is not None:
            key = _key(item.window)
            partner = open_windows.pop(key, None)
            if partner is not None and partner.window is not None and _may_join(partner.window, item.window):
                changes.append(([partner, item], Item(0, window=join_windows(partner.window, item.window))))
            else:
                open_windows[key] = item
        elif item.gauges is not None:
            if (
                open_gauges is not None
                and open_gauges.gauges is not None
                and _may_join(open_gauges.gauges, item.gauges)
            ):
                changes.append(([open_gauges, item], Item(0, gauges=join_gauges(open_gauges.gauges, item.gauges))))
                open_gauges = None
            else:
                open_gauges = item
        elif item.event is not None:
            last = last_events.get(_event_key(item.event))
            if last is not None:
                changes.append(([last], None))
            last_events[_event_key(item.event)] = item
    return changes


def join_windows(first: Window, second: Window) -> Window:
    """Two windows of one generation and throttle state as one. Law: counts and histograms are sums."""
    phases: dict[LatencyPhase, HistogramData] = {}
    for phase in (*first.latency_us, *(p for p in second.latency_us if p not in first.latency_us)):
        merged = Histogram()
        for part in (first.latency_us.get(phase), second.latency_us.get(phase)):
            if part is not None:
                merged.merge(Histogram.from_data(part))
        phases[phase] = merged.to_data()
    return Window(
        start=min(first.start, second.start),
        end=max(first.end, second.end),
        slot=first.slot,
        generation=first.generation,
        artifact=first.artifact,
        model=first.model,
        version=first.version,
        throttled=first.throttled,
        probation=first.probation,
        ok=first.ok + second.ok,
        errors=first.errors + second.errors,
        latency_us=phases,
    )


def join_gauges(first: Gauges, second: Gauges) -> Gauges:
    """Two stretches as one: flags and temperatures keep their worst value, `cpu_pct` its mean, others the last."""
    values = {**first.values, **second.values}
    for name, value in first.values.items():
        if name not in second.values:
            continue
        if name == "cpu_pct":
            long, longer = first.end - first.start, second.end - second.start
            values[name] = (value * long + second.values[name] * longer) / max(long + longer, 1e-9)
        elif name.endswith(("_temp_c", "throttled", "under_voltage", "_since_boot", "over_current")):
            values[name] = max(value, second.values[name])
    return Gauges(start=min(first.start, second.start), end=max(first.end, second.end), values=values)


def _when(item: Item) -> float:
    body = item.window or item.gauges
    return body.start if body is not None else (item.event or item.swap).at  # type: ignore[union-attr] # one is set


def _key(window: Window) -> object:
    return window.slot, window.generation, window.artifact, window.throttled, window.probation


def _event_key(event: DeviceEvent) -> object:
    return event.kind, event.slot, event.code


def _may_join(first: Window | Gauges, second: Window | Gauges) -> bool:
    return max(first.end, second.end) - min(first.start, second.start) <= LONGEST_S
