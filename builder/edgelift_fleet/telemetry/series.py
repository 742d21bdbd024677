"""What latency is summed by: series of a device, and of the fleet. Their number is bounded, whatever devices claim.

A device has at most `MAX_PER_DEVICE` series, and artifacts that the site never published make at most
`MAX_UNPUBLISHED` series of the fleet, of which one device makes few; what comes beyond is summed together under
`OTHER`. Nothing is lost but the name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.telemetry import Window
from edgelift_fleet.db import among, insert_new
from edgelift_fleet.tables import ArtifactRow, TelemetryFleetSeriesRow, TelemetrySeriesRow

MAX_PER_DEVICE = 256
MAX_UNPUBLISHED = 256
#: … of which one device makes at most so many: it takes no other's place.
MAX_UNPUBLISHED_OF_ONE = 16
#: The slot, model and version under which the rest is summed; no name in the contract has parentheses.
OTHER = "(other)"


class _Key(NamedTuple):
    device: str
    slot: str
    artifact: str
    model: str
    version: str
    hardware_class: str
    throttled: bool
    probation: bool


_COLUMNS = [getattr(TelemetrySeriesRow, name) for name in _Key._fields]


class SeriesOf:
    """Series of some devices, by window; made where they are new. Inside one write transaction."""

    def __init__(self, session: Session, classes: Mapping[str, str]) -> None:
        """Read what there is of the devices, given with their hardware class."""
        self._session, self._classes = session, classes
        self._ids: dict[_Key, int] = {}
        self._number: dict[str, int] = dict.fromkeys(classes, 0)
        self._fleet: dict[_Key, int] = {}
        self._unpublished_of: Counter[str] = Counter()
        self._read(list(classes))

    def _read(self, devices: list[str]) -> None:
        query = sa.select(TelemetrySeriesRow.id, *_COLUMNS).where(
            among(self._session, TelemetrySeriesRow.device, devices)
        )
        for number, *key in self._session.execute(query):
            found = _Key(*key)
            if found not in self._ids:
                self._ids[found] = number
                self._number[found.device] += 1

    def ids_of(self, windows: Sequence[tuple[str, Window]]) -> list[int]:
        """The series that each window belongs to, of (device, window); those that are new are made, all together."""
        keys: dict[tuple[str, str, str, str, str, bool, bool], _Key] = {}
        new: dict[_Key, None] = {}
        added: Counter[str] = Counter()
        found = []
        for device, w in windows:
            said = (device, w.slot, w.artifact, w.model, w.version, w.throttled, w.probation)
            key = keys.get(said)
            if key is None:
                key = self._key(device, w)
                if (
                    key not in self._ids
                    and key not in new
                    and self._number[device] + added[device] >= MAX_PER_DEVICE
                ):
                    key = key._replace(slot=OTHER, artifact="", model=OTHER, version=OTHER)
                if key not in self._ids and key not in new:
                    new[key] = None
                    added[device] += 1
                keys[said] = key
            found.append(key)
        if new:
            rows = [{**key._asdict(), "fleet": self._fleet_series(key)} for key in sorted(new)]
            insert_new(self._session, TelemetrySeriesRow, rows)
            self._read(sorted({key.device for key in new}))
        return [self._ids[key] for key in found]

    def _key(self, device: str, w: Window) -> _Key:
        return _Key(
            device, w.slot, _short(w.artifact), _short(w.model), _short(w.version),
            _short(self._classes[device]), w.throttled, w.probation,
        )  # fmt: skip

    def _fleet_series(self, key: _Key) -> int:
        """The series of the fleet that a device's counts towards; looked up once for all devices that share it."""
        shared = key._replace(device="", probation=False)
        found = self._fleet.get(shared)
        if found is None:
            found = _find(self._session, shared)
        if found is None and not _is_published(self._session, key.artifact):
            if self._crowds(key.device) or _unpublished(self._session) >= MAX_UNPUBLISHED:
                # Not remembered under its name: another device may still have a series of that.
                other = shared._replace(slot=OTHER, artifact="", model=OTHER, version=OTHER)
                return self._fleet.setdefault(other, _find(self._session, other) or _make(self._session, other))
            self._unpublished_of[key.device] += 1
        self._fleet[shared] = found = found or _make(self._session, shared)
        return found

    def _crowds(self, device: str) -> bool:
        """Has this device as many series of artifacts that were never published as one may?"""
        if device not in self._unpublished_of:  # (a Counter answers 0 and keeps nothing)
            series, fleet = TelemetrySeriesRow, TelemetryFleetSeriesRow
            query = sa.select(sa.func.count(sa.distinct(series.fleet))).join(fleet, fleet.id == series.fleet)
            query = query.where(series.device == device, fleet.artifact.not_in(sa.select(ArtifactRow.id)))
            self._unpublished_of[device] = self._session.scalar(query) or 0
        return self._unpublished_of[device] >= MAX_UNPUBLISHED_OF_ONE


def _short(text: str) -> str:
    """A device's word as the tables hold it."""
    return text.replace("\0", "")[:64]


def _find(session: Session, key: _Key) -> int | None:
    """The series of the fleet, if there is one; `device` and `probation` tell nothing here."""
    return session.scalar(sa.select(TelemetryFleetSeriesRow.id).filter_by(**_shared(key)))


def _make(session: Session, key: _Key) -> int:
    insert_new(session, TelemetryFleetSeriesRow, [_shared(key)])
    return session.scalars(sa.select(TelemetryFleetSeriesRow.id).filter_by(**_shared(key))).one()


def _shared(key: _Key) -> dict[str, str | bool]:
    return {
        name: getattr(key, name)
        for name in ("slot", "artifact", "model", "version", "hardware_class", "throttled")
    }


def _is_published(session: Session, artifact: str) -> bool:
    return session.get(ArtifactRow, artifact) is not None


def _unpublished(session: Session) -> int:
    published = sa.select(ArtifactRow.id)
    query = sa.select(sa.func.count()).where(TelemetryFleetSeriesRow.artifact.not_in(published))
    return session.scalar(query) or 0
