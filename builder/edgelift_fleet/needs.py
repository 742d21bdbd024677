"""What devices need a person for: kind by kind, with how many they are, since when, and what to do.

Judged from what is written and heard, in a fixed number of statements whatever the fleet. Each kind is a word by which
lists can be asked for those devices, too.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.report import UpdateReport
from edgelift_fleet.cohorts import Where
from edgelift_fleet.db import among
from edgelift_fleet.device_filter import duplicates, failing, faulty
from edgelift_fleet.devices import LastSeen, is_there
from edgelift_fleet.rows import read_row
from edgelift_fleet.tables import DeviceRow, SlotStateRow, TelemetryNewestRow
from edgelift_fleet.telemetry.gauges import newest

#: Gauges that are older say nothing of now, seconds.
FRESH_S = 900.0
#: Degrees Celsius: a Raspberry Pi begins to slow down at 80 (its documentation, "Frequency management and thermal control").
HOT_C = 80.0
#: Bytes: an artifact of an ordinary size no longer has room.
LOW_DISK_BYTES = 512 * 2**20
#: For how long what was found holds, and how often all that is written of all devices is looked through, seconds.
HELD_S, FAULTS_EVERY_S = 2.0, 60.0
#: Devices of a kind that are named; the others are a list away.
NAMED = 5
#: Gauges that are temperatures of a part of the board, degrees Celsius.
TEMPERATURES = ("soc_temp_c", "cpu_thermal_temp_c", "cpu_temp_c", "gpu_temp_c")


@dataclass(frozen=True)
class TroubleKind:
    """A kind of trouble: `code` by which lists are asked for it, `tone` (`bad` or `warn`), what `one` device does and what
    `many` do, and what to `do`; `here`: on the device's own page, where that is something else.
    """

    code: str
    tone: str
    one: str
    many: str
    do: str
    here: str = ""


#: Worst first.
KINDS = {
    one.code: one
    for one in (
        TroubleKind("faulty", "bad", "can't be read in part: nothing is assigned to it",
             "can't be read in part: nothing is assigned to them",
             "Open it to see what; then mend it: edgelift device mend.", "Mend it: edgelift device mend."),
        TroubleKind("duplicate-device", "bad", "shares its id with another board", "share their id with another board",
             "Enrol the copy under an id of its own: edgelift-agent enroll."),
        TroubleKind("failing", "bad", "could not take what it should run", "could not take what they should run",
             "What it had serves on. Open it to see why; then build or assign another release.",
             "What it had serves on. Build or assign another release, or keep what it has, below."),
        TroubleKind("under-voltage", "bad", "gets too little voltage", "get too little voltage",
             "Check its supply and cable: they must hold under load."),
        TroubleKind("hot", "warn", f"is at {HOT_C:.0f} °C or more", f"are at {HOT_C:.0f} °C or more",
             "Give it air or a heat sink, or a smaller model."),
        TroubleKind("throttled", "warn", "runs below its clock", "run below their clock",
             "Look at its temperature and its supply."),
        TroubleKind("disk-low", "warn", "has less than 512 MiB free", "have less than 512 MiB free",
             "Free space on it: a new artifact may find no room."),
        TroubleKind("offline", "warn", "is offline", "are offline", "Check its power and network; what it runs serves on."),
    )
}  # fmt: skip


class Need(msgspec.Struct, frozen=True):
    """A kind of trouble that some devices have.

    Attributes:
        code: stable; lists can be asked for it.
        tone: `bad` or `warn`.
        what: it is, as follows on the number of devices.
        do: what to do about it.
        devices: how many have it.
        since: of the one that has had it longest, seconds since 1970; 0 where that isn't known.
        first: ids of up to five of them, longest first.
        detail: of the first one, for people; may be empty.
    """

    code: str
    tone: str
    what: str
    do: str
    devices: int
    since: float
    first: list[str]
    detail: str = ""


@dataclass(frozen=True)
class Troubles:
    """Who has what.

    Attributes:
        of: kind → device → since when, seconds since 1970; 0 where that isn't known.
        details: (kind, device) → what is to be said of that, for people.
        gauges: device → its newest gauges, of those that are fresh.
        devices: how many there are in all.
    """

    of: dict[str, dict[str, float]]
    details: dict[tuple[str, str], str]
    gauges: dict[str, dict[str, float]]
    devices: int

    def kinds(self, device: str) -> list[str]:
        """What one device has, worst first."""
        return [code for code in KINDS if device in self.of.get(code, ())]

    def needs(self) -> list[Need]:
        """As a list, worst first. Pure."""
        return [self._need(kind, self.of[code]) for code, kind in KINDS.items() if self.of.get(code)]

    def _need(self, kind: TroubleKind, devices: Mapping[str, float]) -> Need:
        order = sorted(devices, key=lambda device: (devices[device] or float("inf"), device))
        since = min((at for at in devices.values() if at), default=0.0)
        detail = self.details.get((kind.code, order[0]), "")
        what = kind.one if len(order) == 1 else kind.many
        return Need(kind.code, kind.tone, what, kind.do, len(order), since, order[:NAMED], detail)


class TroubleWatch:
    """Finds out who has what, and remembers what need not be read again. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read: tuple[float, Troubles] | None = None
        self._gauges: dict[str, tuple[int, dict[str, float]]] = {}
        self._faulty: tuple[float, set[str]] = (-math.inf, set())

    def look(self, session: Session, seen: LastSeen, now: float | None = None) -> Troubles:
        """Who has what, as of at most two seconds ago; inside one `Database.read`. Raises the database's.

        Args:
            session: for reading.
            seen: when devices were last heard of.
            now: seconds since 1970.
        """
        now = time.time() if now is None else now
        with self._lock:
            if self._read is None or not 0 <= now - self._read[0] < HELD_S:
                self._read = (now, self._look(session, seen, now))
            return self._read[1]

    def _look(self, session: Session, seen: LastSeen, now: float) -> Troubles:
        row = DeviceRow
        rows = session.execute(sa.select(row.id, row.last_seen, row.gone_at, row.presence_online)).all()
        heard = {id_: seen.at(id_, last_seen) for id_, last_seen, _, _ in rows}
        gone = {
            id_: max(heard[id_], gone_at)
            for id_, _, gone_at, present in rows
            if not is_there(present, gone_at, heard[id_], now)
        }
        there = row.id.is_not(None)
        of: dict[str, dict[str, float]] = {
            "faulty": dict.fromkeys(self._faults(session, seen, now) & heard.keys(), 0.0),
            "duplicate-device": dict.fromkeys(_ids(session, duplicates(session, seen, there)), 0.0),
            "failing": {},
            "offline": gone,
        }
        details: dict[tuple[str, str], str] = {}
        for device, (since, code) in _failed(session, _ids(session, failing(session, seen, there))).items():
            of["failing"][device], details["failing", device] = since, code
        gauges = self._fresh_gauges(session, heard.keys() - gone.keys(), now)
        for device, values in gauges.items():
            for code, detail in judge_gauges(values).items():
                of.setdefault(code, {})[device] = 0.0
                details[code, device] = detail
        return Troubles(of, details, gauges, len(rows))

    def _faults(self, session: Session, seen: LastSeen, now: float) -> set[str]:
        """Who can't be read in part: everything that is written of every device has to be looked through for it."""
        if not 0 <= now - self._faulty[0] < FAULTS_EVERY_S:
            self._faulty = (now, _ids(session, faulty(session, seen, DeviceRow.id.is_not(None))))
        return self._faulty[1]

    def _fresh_gauges(self, session: Session, devices: Collection[str], now: float) -> dict[str, dict[str, float]]:
        row, from_ms = TelemetryNewestRow, int((now - FRESH_S) * 1000)
        rows = session.execute(sa.select(row.device, row.at).where(row.at > from_ms))
        stand = {device: at for device, at in rows}  # noqa: C416 - dict() takes a result for a mapping: it has keys
        known = {device: kept for device, kept in self._gauges.items() if stand.get(device) == kept[0]}
        wanted = stand.keys() - known.keys()
        if wanted:
            for device, (at, values) in newest(session, wanted).items():
                known[device] = (round(at * 1000), values)
        self._gauges = known
        return {
            device: kept[1]
            for device, kept in known.items()
            if device in devices and kept[0] / 1000 < now + FRESH_S
        }


def judge_gauges(values: Mapping[str, float]) -> dict[str, str]:
    """What a device's newest gauges say: kind → what is to be said of it. Pure."""
    found = {}
    if values.get("under_voltage"):
        found["under-voltage"] = "The board reports it."
    if (degrees := temperature(values)) is not None and degrees >= HOT_C:
        found["hot"] = f"{degrees:.1f} °C"
    if values.get("throttled") or values.get("frequency_capped") or values.get("soft_temp_limit"):
        found["throttled"] = (
            f"{values['cpu_freq_mhz']:.0f} MHz" if "cpu_freq_mhz" in values else "The board reports it."
        )
    free = values.get("disk_free_bytes")
    if free is not None and free < LOW_DISK_BYTES:
        found["disk-low"] = f"{free / 1e6:.0f} MB free"
    return found


def temperature(values: Mapping[str, float]) -> float | None:
    """The hottest part of a board, degrees Celsius; None for one that doesn't say. Pure."""
    return max((values[name] for name in TEMPERATURES if name in values), default=None)


def _ids(session: Session, where: Where) -> set[str]:
    return set(session.scalars(sa.select(DeviceRow.id).where(where)))


def _failed(session: Session, devices: Collection[str]) -> dict[str, tuple[float, str]]:
    """When the last update of each of these devices that failed ended, seconds since 1970, and its code."""
    query = sa.select(SlotStateRow.device, SlotStateRow.last_update).where(
        among(session, SlotStateRow.device, devices)
    )
    found = {}
    for device, body in session.execute(query) if devices else ():
        update = read_row(body, UpdateReport, owner=device, what="last update", into=[]) if body else None
        if update is not None and update.code:
            found[device] = (update.finished_at or 0.0, update.code)
    return {device: found.get(device, (0.0, "")) for device in devices}
