"""The fleet's metrics as families of `prometheus_client`: names, units and labels as in docs/metrics.md. Pure."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

from edgelift_contract import __version__
from edgelift_fleet.alerts.judge import SLOWED, is_slowed, temperature
from edgelift_fleet.metrics.lines import FamilyLines, Labels
from edgelift_fleet.metrics.readings import DeviceReading, RolloutReading, ServerReading, StoredReading

#: Releases of which it is told how many slots serve them, at most: those that serve most.
MAX_RELEASES = 200
#: Gauge as a device sends it, in base units → name, what it says.
_GAUGES = {
    "under_voltage": ("under_voltage", "1 while its supply's voltage is too low."),
    "disk_free_bytes": ("disk_free_bytes", "Space left where its state folder is."),
}


def server_families(server: ServerReading, *, database_up: bool) -> Iterator[Metric]:
    """Of the process that answers."""
    build = {"version": __version__, "python": platform.python_version()}
    yield InfoMetricFamily("edgelift_build", "The program that answers.", value=build)
    yield _one("database_up", "1 if the database answers.", database_up)
    yield _one("leader", "1 for the server of the site that drives rollouts.", server.leads)
    if server.broker != "none":
        yield _one("broker_up", "1 while the connection to the broker stands.", server.broker == "connected")
    load = server.load
    yield _one("inbox_messages", "Reports and telemetry that came and aren't stored yet.", load.waiting_messages)
    yield _one("connections", "Connections to the HTTP side.", load.connections)
    yield _one("connections_limit", "Connections that it could have.", load.connections_limit)
    yield _one("parked_polls", "Long polls that wait.", load.parked_polls)
    yield _one("damaged_blobs", "Blobs set aside because they are no longer what they were.", server.damaged_blobs)
    yield _one("trust_warnings", "What of the signed metadata ends soon, or has.", server.warnings)
    refused = CounterMetricFamily(
        "edgelift_fleet_requests_refused", "Requests refused since the server's start.", labels=["side", "code"]
    )
    for words, number in server.refused.items():
        refused.add_metric(words, number)
    yield refused
    ended = CounterMetricFamily(
        "edgelift_fleet_updates", "Updates whose end devices reported since the server's start.",
        labels=["outcome", "code"],
    )  # fmt: skip
    for words, number in server.ended.items():
        ended.add_metric(words, number)
    yield ended


def stored_families(stored: StoredReading) -> Iterator[Metric]:
    """Of what the database says, but for devices with series of their own."""
    counts = stored.counts
    states = {"online": counts.online, "offline": counts.total - counts.online}
    yield _by("devices", "Devices, by whether they are there.", "state", states)
    yield _one("devices_failing", "Devices with a slot that could not take what it should run.", counts.failing)
    yield _one("devices_duplicate", "Ids under which several devices speak.", counts.duplicates)
    yield _by("devices_degraded", "Devices that say something is broken around them.", "code", stored.degraded)
    yield _by("devices_by_class", "Devices, by hardware class.", "hardware_class", counts.by_class)
    serving = GaugeMetricFamily(
        "edgelift_fleet_slots_serving", "Slots that serve a release.", labels=["model", "version"]
    )
    for release, number in sorted(counts.by_release.items(), key=lambda one: (-one[1], one[0]))[:MAX_RELEASES]:
        model, _, version = release.partition("@")
        serving.add_metric([model, version], number)
    yield serving
    yield _by("rollouts", "Rollouts, by state.", "state", stored.rollouts)
    yield _by("gate_looks", "Looks of gates that are kept, by verdict.", "verdict", stored.looks)
    yield from _rollout_families(stored.open_rollouts)
    yield _one("devices_left_out", "Devices without series of their own: there are too many.", stored.left_out)


def _rollout_families(rollouts: Sequence[RolloutReading]) -> Iterator[Metric]:
    names = ["rollout", "release"]
    devices = _family("rollout_devices", "Devices that an open rollout reached, by status.", [*names, "status"])
    waits = _family("rollout_awaits_person", "1 where nothing goes on before somebody decides.", names)
    breached = _family("rollout_gate_breached", "1 if its gate's newest look was a breach.", names)
    changed = _family(
        "rollout_changed_timestamp_seconds", "When something was last decided of it, since 1970.", names
    )
    for one in rollouts:
        labels = [one.id, one.release]
        for status, number in one.counts.items():
            devices.add_metric([*labels, status], number)
        waits.add_metric(labels, one.awaits_person)
        if one.breached is not None:
            breached.add_metric(labels, one.breached)
        changed.add_metric(labels, one.changed_at)
    return iter((devices, waits, breached, changed))


def device_lines(devices: Sequence[DeviceReading]) -> Iterator[FamilyLines]:
    """Of devices with series of their own."""
    info = _lines("info", "A device and its hardware class.")
    online = _lines("online", "1 if it is there.")
    failing = _lines("failing", "1 for a device with a slot that could not take what it should run.")
    degraded = _lines("degraded", "1 for what it says is broken around it, by code.")
    seen = _lines("last_seen_timestamp_seconds", "When it was last heard of, since 1970.")
    ends = _lines("certificate_end_timestamp_seconds", "When its certificate ends, since 1970.")
    hottest = _lines("temperature_celsius", "Temperature of its hottest part.")
    throttled = _lines("throttled", "1 while its processor is slowed down.")
    gauges = {name: _lines(to, text) for name, (to, text) in _GAUGES.items()}
    for one in devices:
        device = Labels(device=one.device)
        info.add(Labels(device=one.device, hardware_class=one.hardware_class), 1)
        online.add(device, one.online)
        if one.failing:
            failing.add(device, 1)
        for code in one.degraded:
            degraded.add(Labels(code=code, device=one.device), 1)
        seen.add(device, one.last_seen)
        if one.certificate_ends:
            ends.add(device, one.certificate_ends)
        if (degrees := temperature(one.gauges)) is not None:
            hottest.add(device, degrees)
        if not one.gauges.keys().isdisjoint(SLOWED):
            throttled.add(device, is_slowed(one.gauges))
        for name, family in gauges.items():
            if name in one.gauges:
                family.add(device, one.gauges[name])
    yield from (info, online, failing, degraded, seen, ends, hottest, throttled, *gauges.values())
    yield from _served_lines(devices)


def _served_lines(devices: Sequence[DeviceReading]) -> Iterator[FamilyLines]:
    requests = _lines("recent_requests", "Requests answered in the last ten minutes.")
    errors = _lines("recent_errors", "Requests failed in the last ten minutes.")
    medians = _lines("latency_p50_seconds", "Median latency in the last ten minutes.")
    p95s = _lines("latency_p95_seconds", "Latency that 95 of 100 requests stayed below in that time.")
    for one in devices:
        for served in one.served:
            labels = Labels(device=one.device, slot=served.slot)
            requests.add(labels, served.ok)
            errors.add(labels, served.errors)
            if served.p50_s is not None and served.p95_s is not None:
                medians.add(labels, served.p50_s)
                p95s.add(labels, served.p95_s)
    return iter((requests, errors, medians, p95s))


def _lines(name: str, text: str) -> FamilyLines:
    return FamilyLines(f"edgelift_fleet_device_{name}", text)


def _family(name: str, text: str, labels: Sequence[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"edgelift_fleet_{name}", text, labels=labels)


def _one(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"edgelift_fleet_{name}", text, value=float(value))


def _by(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    made = _family(name, text, [label])
    for value, number in values.items():
        made.add_metric([value], number)
    return made
