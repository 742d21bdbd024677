"""What is wrong now, from what was read of the fleet. Pure: no database, no clock.

The one rule of it: alerts, the console's pages and the metrics' ranking all ask here, so that a trouble has the same bounds
and the same words wherever it is shown. What is judged holds at this moment; `decide` says from when on people are told.

A board that is silent can't say how hot it is: what it said last neither begins nor ends anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from edgelift_contract.report import Degradation
from edgelift_fleet.alert_settings import AlertSettings

#: Readings that came longer ago count for nothing, seconds: a board sends them every 5 minutes.
READINGS_S = 3600.0
#: Readings that are temperatures of a part of the board, degrees Celsius.
TEMPERATURES = ("soc_temp_c", "cpu_thermal_temp_c", "cpu_temp_c", "gpu_temp_c")
#: Readings that say that a board runs at less than its clock.
SLOWED = ("throttled", "frequency_capped", "soft_temp_limit")
#: That a rollout was rolled back is wrong for so long, seconds.
ROLLED_BACK_S = 3600.0
#: A receiver that has not taken a message for so long fails; one that was given up counts for a day, seconds.
FAILING_S, GIVEN_UP_S = 3600.0, 86_400.0
_ROLLED_BACK = ("rolled-back", "wave-rolled-back")


class DeviceLook(NamedTuple):
    """A device as it stands.

    Attributes:
        device: its id.
        there: it is online.
        heard_at: when it was last heard of, or its connection ended, seconds since 1970.
        readings_at: when its readings are from; 0 for none.
        readings: its newest gauges.
        degraded: what it says is broken.
        ends_at: when its certificate ends, 0 for none; made_at: when that was made.
        doubled: two boards speak under its id.
        removed: it was taken out, so nothing of it is wrong.
    """

    device: str
    there: bool
    heard_at: float
    readings_at: float = 0.0
    readings: Mapping[str, float] = {}
    degraded: Sequence[Degradation] = ()
    ends_at: float = 0.0
    made_at: float = 0.0
    doubled: bool = False
    removed: bool = False


class RolloutStanding(NamedTuple):
    """A rollout as it stands. `awaits`: the wave that a person is to approve, 0 for none; `breach`: what the look of a gate
    said that stopped it; `by_person`: a person brought it into its state.
    """

    name: str
    release: str
    state: str
    reason: str
    changed_at: float
    awaits: int = 0
    breach: str = ""
    by_person: bool = False


class ReceiverLook(NamedTuple):
    """A receiver: since when its oldest message waits that it refused, 0 for none; when it was last given up; and why."""

    name: str
    waiting_since: float
    given_up_at: float
    error: str = ""


@dataclass(frozen=True)
class FleetLook:
    """All that is judged. `listening_since`: what boards could say before counts against none, seconds since 1970."""

    devices: Sequence[DeviceLook] = ()
    rollouts: Sequence[RolloutStanding] = ()
    receivers: Sequence[ReceiverLook] = ()
    signatures: Sequence[str] = ()
    site: str = ""
    listening_since: float = 0.0


class Trouble(NamedTuple):
    """Something that is wrong: what, with whom, since when (seconds since 1970), and more of it for people."""

    code: str
    subject: str
    since: float
    text: str = ""


@dataclass(frozen=True)
class JudgedFleet:
    """What was found; of the devices `unheard` nothing can be known but that they are silent."""

    troubles: Sequence[Trouble]
    unheard: frozenset[str] = field(default_factory=frozenset)


def judge(look: FleetLook, rules: AlertSettings, now: float) -> JudgedFleet:
    """Everything that is wrong.

    Args:
        look: what was read.
        rules: from when something is wrong.
        now: seconds since 1970.
    """
    found: list[Trouble] = []
    unheard = set()
    for device in look.devices:
        if not device.there:
            unheard.add(device.device)
        for trouble in judge_device(device, rules, now):
            silent_since = max(device.heard_at, look.listening_since)
            if trouble.code != "offline" or now - silent_since >= rules.silent_for_s:
                found.append(trouble)
    for rollout in look.rollouts:
        found += judge_rollout(rollout, now)
    for receiver in look.receivers:
        found += judge_receiver(receiver, now)
    if look.signatures:
        found.append(Trouble("signature-ends", look.site[:64], now, " ".join(look.signatures)[:500]))
    return JudgedFleet(found, frozenset(unheard))


def judge_device(
    one: DeviceLook, rules: AlertSettings, now: float, measured: Mapping[str, str] | None = None
) -> list[Trouble]:
    """What is wrong with a device at this moment; since `now` where nobody knows since when.

    `measured` is what `judge_readings` says of its readings, for who asks again and again and has kept that.
    """
    if one.removed:
        return []
    found: list[Trouble] = []
    if not one.there:
        found.append(Trouble("offline", one.device, min(one.heard_at, now)))
    else:
        if one.readings and abs(now - one.readings_at) < READINGS_S:
            said = judge_readings(one.readings, rules) if measured is None else measured
            found += [Trouble(code, one.device, now, text) for code, text in said.items()] if said else []
        if one.degraded:
            since = min((part.since for part in one.degraded if 0 < part.since <= now), default=now)
            found.append(Trouble("degraded", one.device, since, _parts(one.degraded)))
    if one.doubled:
        found.append(Trouble("duplicate-device", one.device, now))
    if ends_soon(one.made_at, one.ends_at, rules, now):
        found.append(Trouble("certificate-ends", one.device, now, _ends(one.ends_at, now)))
    return found


def judge_readings(said: Mapping[str, float], rules: AlertSettings) -> dict[str, str]:
    """What a board's readings say is wrong: code → more of it."""
    found = {}
    if said.get("under_voltage", 0.0) > 0:
        found["under-voltage"] = ""
    if (degrees := temperature(said)) is not None and degrees >= rules.hot_c:
        found["hot"] = f"{degrees:.0f} °C"
    if is_slowed(said):
        found["throttled"] = f"{said['cpu_freq_mhz']:.0f} MHz" if "cpu_freq_mhz" in said else ""
    if 0 <= (free := said.get("disk_free_bytes", -1.0)) < rules.disk_low_bytes:
        found["disk-low"] = f"{free / 1e6:,.0f} MB free"
    return found


def is_slowed(said: Mapping[str, float]) -> bool:
    """Does a board say that it runs at less than its clock?"""
    return any(said.get(name, 0.0) > 0 for name in SLOWED)


def bounds(rules: AlertSettings) -> dict[str, str]:
    """From where on, for the troubles that have a bound: code → as `80 °C or more`."""
    return {
        "hot": f"{rules.hot_c:g} °C or more",
        "disk-low": f"less than {rules.disk_low_bytes / 1e6:,.0f} MB free",
    }


def temperature(said: Mapping[str, float]) -> float | None:
    """The hottest part of a board, degrees Celsius; None for one that doesn't say."""
    return max([said[name] for name in TEMPERATURES if name in said], default=None)


def ends_soon(made_at: float, ends_at: float, rules: AlertSettings, now: float) -> bool:
    """Should a certificate have been renewed? One that was made for a day would else end soon from its first second on."""
    return 0 < ends_at <= now + min(rules.certificate_ends_s, max(0.0, ends_at - made_at) / 4)


def _parts(parts: Iterable[Degradation]) -> str:
    return "; ".join(f"{one.part}: {one.code}" for one in parts)[:300]


def _ends(at: float, now: float) -> str:
    days = (at - now) / 86_400
    return "it has ended" if days <= 0 else "it ends within a day" if days < 1 else f"it ends in {days:.0f} days"


def judge_rollout(one: RolloutStanding, now: float) -> Iterator[Trouble]:
    """What a person should look at of a rollout."""
    text = f"{one.release}: {one.reason}"
    lately = one.state in _ROLLED_BACK and now - one.changed_at < ROLLED_BACK_S
    going_back = one.state == "rolling-back" or lately
    if one.breach and not one.by_person and (going_back or one.state == "paused"):
        yield Trouble("gate-breach", one.name, one.changed_at, f"{one.release}: {one.breach}. {one.reason}")
    elif one.state == "paused" and not one.by_person:
        yield Trouble("rollout-paused", one.name, one.changed_at, text)
    elif going_back and not one.by_person:
        yield Trouble("rolled-back", one.name, one.changed_at, text)
    if one.awaits and one.state == "running":
        yield Trouble("needs-approval", one.name, one.changed_at, text)


def judge_receiver(one: ReceiverLook, now: float) -> Iterator[Trouble]:
    """Whether a receiver fails."""
    if one.waiting_since and now - one.waiting_since >= FAILING_S:
        yield Trouble("receiver-failing", one.name, one.waiting_since, one.error)
    elif one.given_up_at and now - one.given_up_at < GIVEN_UP_S:
        yield Trouble("receiver-failing", one.name, one.given_up_at, f"A message was given up: {one.error}")
