"""Everything that the agent exposes at `/metrics`, in Prometheus' text format or OpenMetrics' as the scraper asks.

`prometheus_client` is imported with the first scrape: an agent that nobody scrapes carries none of it. Names, units
and labels stand in docs/metrics.md.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgelift_contract import __version__
from edgelift_contract.report import Degradation

if TYPE_CHECKING:
    from prometheus_client import Metric

#: Gauge of `Health` → name, what it is multiplied with to be in base units, and what it says.
_GAUGES = {
    "cpu_pct": ("edgelift_device_cpu_ratio", 0.01, "Share of the processors in use."),
    "load_1m": ("edgelift_device_load1", 1.0, "Processes that run or wait to, over a minute."),
    "memory_used_bytes": ("edgelift_device_memory_used_bytes", 1.0, "Memory in use."),
    "memory_available_bytes": ("edgelift_device_memory_available_bytes", 1.0, "Memory that programs could take."),
    "disk_free_bytes": ("edgelift_device_disk_free_bytes", 1.0, "Space left where the state folder is."),
    "agent_rss_bytes": ("process_resident_memory_bytes", 1.0, "Resident memory of the agent."),
    "uptime_s": ("edgelift_device_uptime_seconds", 1.0, "Time since the machine started."),
    "throttled": ("edgelift_device_throttled", 1.0, "1 while the processor is slowed down."),
    "under_voltage": ("edgelift_device_under_voltage", 1.0, "1 while the supply's voltage is too low."),
    "over_current": ("edgelift_device_over_current", 1.0, "1 while a rail takes too much current."),
    "throttled_since_boot": (
        "edgelift_device_throttled_since_boot", 1.0, "1 if the processor was slowed down since the start.",
    ),
    "under_voltage_since_boot": (
        "edgelift_device_under_voltage_since_boot", 1.0, "1 if the voltage was too low since the start.",
    ),
    "gpu_freq_mhz": ("edgelift_device_gpu_frequency_hertz", 1e6, "Clock of the GPU."),
    "gpu_load_pct": ("edgelift_device_gpu_ratio", 0.01, "Share of the GPU in use."),
}  # fmt: skip


@dataclass(frozen=True)
class Sources:
    """Where the readings come from; each is asked at a scrape, from the thread that answers it.

    Attributes:
        serving: families of what serves.
        gauges: of the machine, as `soc_temp_c` → 61.5.
        degraded: what is broken around the agent.
        outcomes: `(outcome, code)` → updates that ended so.
        waiting: items that wait for the host; None where that can't be told now.
        certificate_ends: seconds since 1970; 0 where there is none, or it is not known.
        now: the device's clock, seconds since 1970.
    """

    serving: Callable[[], Iterator[Metric]]
    gauges: Callable[[], Mapping[str, float]]
    degraded: Callable[[], Sequence[Degradation]]
    outcomes: Callable[[], Mapping[tuple[str, ...], int]]
    waiting: Callable[[], int | None]
    certificate_ends: Callable[[], float]
    now: Callable[[], float]


class AgentMetrics:
    """A collector of `prometheus_client`."""

    def __init__(self, sources: Sources) -> None:
        self._from = sources

    def expose(self, accept: str) -> tuple[bytes, bytes]:
        """All of it, and its media type; `accept` is the scraper's header: only it asks for OpenMetrics."""
        from prometheus_client.exposition import choose_encoder
        from prometheus_client.registry import CollectorRegistry

        registry = CollectorRegistry()
        registry.register(self)
        wanted = "application/openmetrics-text; version=1.0.0" if "application/openmetrics-text" in accept else ""
        encode, kind = choose_encoder(wanted)
        return encode(registry), kind.encode()

    def describe(self) -> Iterator[Metric]:
        """What registering asks for: nothing is read for it."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The families, read now."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        build = {"version": __version__, "python": platform.python_version()}
        yield InfoMetricFamily("edgelift_build", "The program that answers.", value=build)
        yield from self._from.serving()
        updates = CounterMetricFamily(
            "edgelift_updates", "Updates that ended since the agent's start, by outcome and code.",
            labels=["outcome", "code"],
        )  # fmt: skip
        for words, number in self._from.outcomes().items():
            updates.add_metric(words, number)
        yield updates
        degraded = GaugeMetricFamily(
            "edgelift_degraded", "1 for each part of the agent that lives with a fault around it.",
            labels=["part", "code"],
        )  # fmt: skip
        for fault in self._from.degraded():
            degraded.add_metric([fault.part, fault.code], 1.0)
        yield degraded
        if (waiting := self._from.waiting()) is not None:
            yield GaugeMetricFamily(
                "edgelift_outbox_items", "Items that wait for the control plane.", value=float(waiting)
            )
        if ends := self._from.certificate_ends():
            yield GaugeMetricFamily(
                "edgelift_certificate_end_timestamp_seconds",
                "When the device's certificate ends, since 1970.", value=ends,
            )  # fmt: skip
        yield from machine_families(self._from.gauges())
        yield GaugeMetricFamily(
            "edgelift_clock_timestamp_seconds", "The device's clock, since 1970.", value=self._from.now()
        )


def machine_families(gauges: Mapping[str, float]) -> Iterator[Metric]:
    """Families of what the machine tells of itself, in base units. Pure."""
    from prometheus_client.core import GaugeMetricFamily

    temperature = GaugeMetricFamily(
        "edgelift_device_temperature_celsius", "Temperature, by sensor; soc is the hottest.", labels=["sensor"]
    )
    power = GaugeMetricFamily(
        "edgelift_device_power_watts", "Power taken, by rail; total is the input's.", labels=["rail"]
    )
    for name, value in sorted(gauges.items()):
        if name in _GAUGES:
            known, factor, text = _GAUGES[name]
            yield GaugeMetricFamily(known, text, value=value * factor)
        elif found := re.fullmatch(r"(\w+)_temp_c", name):
            temperature.add_metric([found[1]], value)
        elif found := re.fullmatch(r"(?:(\w+)_)?power_w", name):
            power.add_metric([found[1] or "total"], value)
    yield from (family for family in (temperature, power) if family.samples)
