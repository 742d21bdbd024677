"""Telemetry: items stored once each, summed by minute, hour and day, and read by joining histograms.

    plausible  what no board can have measured; doubts: what was set aside of each device for that
    arrivals   which items of an outbox came: a second delivery changes nothing
    packing    histograms as few bytes; joining: many of them as one, exactly
    store      what devices deliver, many batches in one transaction
    fold       windows that wait, into the hours and days of their device and of the fleet
    ranges     which buckets answer for a stretch of time
    query      latency by version, class, throttling; of the fleet, a tag, a device
    gauges     temperature, throttling, memory, disk
    notes      swaps and events
    trimming   what a device has too much of
    retention  how long what is kept; samples: which devices' minutes are kept longer
    export     everything as JSON lines
    keeper     the thread that folds and sweeps

A quantile over many windows is read from their joined histograms, never averaged.
"""

from edgelift_fleet.telemetry.doubts import doubts_of
from edgelift_fleet.telemetry.joining import quantiles
from edgelift_fleet.telemetry.notes import events, swaps
from edgelift_fleet.telemetry.outboxes import count_windows
from edgelift_fleet.telemetry.query import latency_by_version
from edgelift_fleet.telemetry.store import check_batch, store, store_many

__all__ = [
    "check_batch",
    "count_windows",
    "doubts_of",
    "events",
    "latency_by_version",
    "quantiles",
    "store",
    "store_many",
    "swaps",
]
