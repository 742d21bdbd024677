"""What a person is needed for: kind by kind, with how many have it, since when, whether it is silenced, and what to do.

Judged from what is written and heard, by the rule of the alerts, in a fixed number of statements whatever the fleet. Each
kind is a word by which lists can be asked for those devices, too.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.report import UpdateReport
from edgelift_fleet.alert_settings import AlertSettings
from edgelift_fleet.alerts.judge import (
    READINGS_S,
    DeviceLook,
    Trouble,
    bounds,
    judge_device,
    judge_readings,
    judge_receiver,
    judge_rollout,
)
from edgelift_fleet.alerts.kinds import TROUBLES, About, Kind
from edgelift_fleet.alerts.reading import DeviceReader, read_receivers, read_rollouts
from edgelift_fleet.alerts.silences import silenced
from edgelift_fleet.cohorts import Where
from edgelift_fleet.db import among
from edgelift_fleet.device_filter import failing, faulty
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.rows import read_row
from edgelift_fleet.tables import AlertRow, DeviceRow, SlotStateRow

#: For how long what was found holds, and how often all that is written of all devices is looked through, seconds.
HELD_S, FAULTS_EVERY_S = 2.0, 60.0
#: Devices of a kind that are named; the others are a list away. And rollouts that are told of one by one.
NAMED, ROLLOUTS = 5, 10


class Need(msgspec.Struct, frozen=True):
    """A kind of trouble that some devices have, or that one rollout or receiver has.

    Attributes:
        code: stable; lists can be asked for it.
        about: `device`, `rollout` or `receiver`.
        tone: `bad`, `warn` or `busy`.
        what: it is, as follows on the number of devices or on the name.
        do: what to do about it.
        count: how many have it.
        since: of the one that has had it longest, seconds since 1970; 0 where that isn't known.
        first: ids of up to five of them, longest first.
        detail: of the first one, for people; may be empty.
        bound: from where on it is one, as `80 °C or more`; may be empty.
        silenced: of how many nobody is told.
        until: where all are silenced, until when, seconds since 1970.
    """

    code: str
    about: About
    tone: str
    what: str
    do: str
    count: int
    since: float
    first: list[str]
    detail: str = ""
    bound: str = ""
    silenced: int = 0
    until: float = 0.0


@dataclass(frozen=True)
class Troubles:
    """Who has what.

    Attributes:
        of: kind → device, rollout or receiver → since when, seconds since 1970; 0 where that isn't known.
        details: (kind, who) → what is to be said of that, for people.
        looks: every device as it stood then, by its id.
        at: when that was, seconds since 1970.
        offline: devices that aren't there.
        silenced: (kind, who) → until when nobody is told of it.
        bounds: kind → from where on it is one.
    """

    of: dict[str, dict[str, float]]
    details: dict[tuple[str, str], str]
    looks: dict[str, DeviceLook]
    at: float
    offline: set[str]
    silenced: dict[tuple[str, str], float] = field(default_factory=dict)
    bounds: dict[str, str] = field(default_factory=dict)

    def kinds(self, device: str) -> list[str]:
        """What one device has, worst first."""
        return [code for code, of in self.of.items() if device in of and TROUBLES[code].about == "device"]

    def readings(self, device: str) -> Mapping[str, float]:
        """A device's newest readings; none of one that isn't there, or sent none lately."""
        look = self.looks.get(device)
        lately = look is not None and look.there and abs(self.at - look.readings_at) < READINGS_S
        return look.readings if look is not None and lately else {}

    def needs(self) -> list[Need]:
        """As a list: rollouts that wait, then the worst; what is silenced comes last. Pure."""
        found = []
        for code, of in self.of.items():
            kind = TROUBLES[code]
            groups = [of] if kind.about == "device" else [{one: of[one]} for one in sorted(of, key=of.__getitem__)]
            found += [self._need(code, kind, group) for group in groups if group]
        rollouts = [one for one in found if one.about == "rollout"][:ROLLOUTS]
        others = [one for one in found if one.about != "rollout"]
        return sorted([*rollouts, *others], key=lambda one: one.silenced == one.count)

    def _need(self, code: str, kind: Kind, of: Mapping[str, float]) -> Need:
        order = sorted(of, key=lambda one: (of[one] or math.inf, one))
        until = [at for one in of if (at := self.silenced.get((code, one)))]
        return Need(
            code=code, about=kind.about, tone=kind.tone, what=kind.one if len(of) == 1 else kind.many,
            do=kind.todo if kind.about == "device" else kind.todo.replace("NAME", order[0]), count=len(of),
            since=min((at for at in of.values() if at), default=0.0), first=order[:NAMED],
            detail=self.details.get((code, order[0]), ""), bound=self.bounds.get(code, ""), silenced=len(until),
            until=min(until) if len(until) == len(of) else 0.0,
        )  # fmt: skip


class TroubleWatch:
    """Finds out who has what, and remembers what need not be read again. Safe to use from several threads."""

    def __init__(self, rules: AlertSettings) -> None:
        """Bind; `rules` says from when on something is wrong, and which receivers there are."""
        self._rules, self._receivers = rules, [one.name for one in rules.receivers]
        self._lock, self._reader = threading.Lock(), DeviceReader()
        self._read: tuple[float, Troubles] | None = None
        self._measured: dict[str, tuple[Mapping[str, float], Mapping[str, str]]] = {}
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
        looks = {one.device: one for one in self._reader.read(session, seen, now)}
        of: dict[str, dict[str, float]] = {code: {} for code in TROUBLES}
        details: dict[tuple[str, str], str] = {}
        offline = set()
        for one in looks.values():
            if not one.there:
                offline.add(one.device)
            for trouble in judge_device(one, self._rules, now, self._judged(one)):
                _put(trouble, of, details, now)
        self._add_judged_apart(session, seen, looks, of, details, now)
        for rollout in read_rollouts(session, now):
            for trouble in judge_rollout(rollout, now):
                _put(trouble, of, details, now)
        for receiver in read_receivers(session, self._receivers):
            for trouble in judge_receiver(receiver, now):
                _put(trouble, of, details, now)
        _fill_since(session, of)
        hushed = silenced(session, ((code, one) for code, having in of.items() for one in having), now)
        return Troubles(of, details, looks, now, offline, hushed, bounds(self._rules))

    def _judged(self, one: DeviceLook) -> Mapping[str, str]:
        """What its readings say is wrong; judged once, as long as they are the same."""
        kept = self._measured.get(one.device)
        if kept is None or kept[0] is not one.readings:
            kept = self._measured[one.device] = (one.readings, judge_readings(one.readings, self._rules))
        return kept[1]

    def _add_judged_apart(
        self, session: Session, seen: LastSeen, looks: Mapping[str, DeviceLook], of: dict[str, dict[str, float]],
        details: dict[tuple[str, str], str], now: float,
    ) -> None:  # fmt: skip
        """What no board says of itself: who can't be read, and whose last update failed."""

        def counts(device: str) -> bool:
            return device in looks and not looks[device].removed

        of["faulty"] = dict.fromkeys(filter(counts, self._faults(session, seen, now)), 0.0)
        found = _ids(session, failing(session, seen, DeviceRow.id.is_not(None)))
        for device, (since, code) in _failed(session, set(filter(counts, found))).items():
            of["failing"][device], details["failing", device] = since, code

    def _faults(self, session: Session, seen: LastSeen, now: float) -> set[str]:
        """Who can't be read in part: everything that is written of every device has to be looked through for it."""
        if not 0 <= now - self._faulty[0] < FAULTS_EVERY_S:
            self._faulty = (now, _ids(session, faulty(session, seen, DeviceRow.id.is_not(None))))
        return self._faulty[1]


def _put(
    trouble: Trouble, of: dict[str, dict[str, float]], details: dict[tuple[str, str], str], now: float
) -> None:
    of[trouble.code][trouble.subject] = trouble.since if trouble.since < now else 0.0
    if trouble.text:
        details[trouble.code, trouble.subject] = trouble.text


def _fill_since(session: Session, of: dict[str, dict[str, float]]) -> None:
    """Since when, as far as the alerts know it: they have looked every 15 s."""
    row, unknown = AlertRow, [code for code, having in of.items() if having and not all(having.values())]
    query = sa.select(row.code, row.subject, row.since).where(row.code.in_(unknown))
    for code, subject, since in session.execute(query) if unknown else ():
        if of[code].get(subject) == 0.0:
            of[code][subject] = since


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
