"""What the metrics tell, as values: read by `gather`, made into families by `families`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from edgelift_fleet.messages import DeviceCounts, Load


@dataclass(frozen=True)
class ServedLately:
    """What a device's slot served in the last ten minutes.

    Attributes:
        slot: its name.
        ok, errors: requests answered and failed.
        p50_s, p95_s: of their latency, seconds; None where nothing was answered.
    """

    slot: str
    ok: int
    errors: int
    p50_s: float | None
    p95_s: float | None


class DeviceReading(NamedTuple):
    """A device with series of its own.

    Attributes:
        device, hardware_class: its id and class.
        online, failing: it is there; a slot could not take what it should run.
        last_seen: seconds since 1970, host's clock.
        gauges: its newest, as it sent them: `soc_temp_c` → 61.5.
        certificate_ends, certificate_made: seconds since 1970; 0 where it has none.
        degraded: codes of what it says is broken around its agent, each once.
        served: by slot.
    """

    device: str
    hardware_class: str
    online: bool
    failing: bool
    last_seen: float
    gauges: Mapping[str, float]
    certificate_ends: float
    certificate_made: float = 0.0
    served: Sequence[ServedLately] = ()
    degraded: Sequence[str] = ()


@dataclass(frozen=True)
class RolloutReading:
    """A rollout that has not ended.

    Attributes:
        id, release, state: as `RolloutSummary`.
        counts: status → devices that it reached.
        awaits_person: nothing goes on before somebody decides.
        breached: the newest look of its gate was a breach; None where none was taken.
        changed_at: seconds since 1970.
    """

    id: str
    release: str
    state: str
    counts: Mapping[str, int]
    awaits_person: bool
    breached: bool | None
    changed_at: float


@dataclass(frozen=True)
class StoredReading:
    """What the database says.

    Attributes:
        counts: of devices.
        devices: those with series of their own; `left_out`: how many have none.
        rollouts: state → how many; `open_rollouts`: those that have not ended, the newest.
        looks: verdict → looks of gates that are kept.
        degraded: code → devices that say that something of that code is broken.
    """

    counts: DeviceCounts
    devices: Sequence[DeviceReading] = ()
    left_out: int = 0
    rollouts: Mapping[str, int] = field(default_factory=dict)
    open_rollouts: Sequence[RolloutReading] = ()
    looks: Mapping[str, int] = field(default_factory=dict)
    degraded: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ServerReading:
    """What the process itself says.

    Attributes:
        broker: `connected`, `disconnected` or `none`.
        leads: of several servers of a site, the one that drives rollouts.
        load: what it carries.
        damaged_blobs: set aside.
        warnings: of signed metadata that ends soon.
        refused: `(side, code)` → requests.
        ended: `(outcome, code)` → updates.
    """

    broker: str
    leads: bool
    load: Load
    damaged_blobs: int
    warnings: int
    refused: Mapping[tuple[str, ...], int]
    ended: Mapping[tuple[str, ...], int]
