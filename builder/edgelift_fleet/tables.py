"""The tables of the control plane's database.

Rules: times are seconds since 1970 as floats; messages are kept as the JSON that the contract defines; numbers
that devices choose are big integers. `tests/fleet/test_site.py` holds these tables and the migrations together.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

#: SQLite clusters a table by its key and keeps no row number beside it; PostgreSQL has no such thing.
_BY_KEY = {"sqlite_with_rowid": False}


class Base(DeclarativeBase):
    """All tables."""


class ControlRow(Base):
    """What the servers of a site tell each other: `term` counts leaders, `leader` says who it is."""

    __tablename__ = "control"
    name: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    value: Mapped[str] = mapped_column(sa.Text)


def table_of(row: type[Base]) -> sa.Table:
    """The plain table of a class: for statements over many rows at once, which need no objects."""
    return Base.metadata.tables[row.__tablename__]


class SightingRow(Base):
    """A process that spoke under a device's id, as one of several servers heard it; see `sightings.Speaker`."""

    __tablename__ = "sighting"
    device: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    epoch: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    address: Mapped[str] = mapped_column(sa.String(64))
    via: Mapped[str] = mapped_column(sa.String(16))
    last_at: Mapped[float]
    returns: Mapped[int] = mapped_column(sa.BigInteger)
    sequence: Mapped[int] = mapped_column(sa.BigInteger)
    written_at: Mapped[float] = mapped_column(index=True)


class ReleaseRow(Base):
    """A published release; `body` is its release.json."""

    __tablename__ = "release"
    id: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(sa.String(64))
    version: Mapped[str] = mapped_column(sa.String(64))
    release_counter: Mapped[int] = mapped_column(sa.BigInteger)
    body: Mapped[str] = mapped_column(sa.Text)
    published_at: Mapped[float]
    __table_args__ = (sa.UniqueConstraint("model", "version"),)


class ArtifactRow(Base):
    """One artifact of a release."""

    __tablename__ = "artifact"
    id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    release_id: Mapped[int] = mapped_column(sa.ForeignKey("release.id"), index=True)
    manifest_bytes: Mapped[int]
    variant: Mapped[str] = mapped_column(sa.String(64))


class DeviceRow(Base):
    """An enrolled device and the newest it said of itself."""

    __tablename__ = "device"
    id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    enrolled_at: Mapped[float]
    last_seen: Mapped[float] = mapped_column(default=0.0)
    facts: Mapped[str] = mapped_column(sa.Text)
    agent_version: Mapped[str] = mapped_column(sa.String(64), default="")
    transport: Mapped[str] = mapped_column(sa.String(16), default="")
    report_epoch: Mapped[str] = mapped_column(sa.Text, default="")
    report_sequence: Mapped[int] = mapped_column(sa.BigInteger, default=-1)
    past_epochs: Mapped[str] = mapped_column(sa.Text, default="[]")
    revision_seen: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    revision_applied: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    presence_online: Mapped[bool] = mapped_column(default=False)
    presence_epoch: Mapped[str] = mapped_column(sa.Text, default="")
    presence_connect: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    gone_at: Mapped[float] = mapped_column(default=0.0)
    #: Of the facts, for selecting by them: `set_facts` keeps them alike.
    hardware_class: Mapped[str] = mapped_column(sa.String(64), default="", index=True)
    timezone: Mapped[str] = mapped_column(sa.String(64), default="")


class TagRow(Base):
    """A tag; `source` is `device` (from its configuration) or `operator`, who wins."""

    __tablename__ = "device_tag"
    device: Mapped[str] = mapped_column(sa.ForeignKey("device.id"), primary_key=True)
    key: Mapped[str] = mapped_column(sa.String(64), primary_key=True, index=True)
    value: Mapped[str] = mapped_column(sa.Text, default="")
    source: Mapped[str] = mapped_column(sa.String(16))


class SlotStateRow(Base):
    """What a device reported of a slot; `last_update` is the contract's UpdateReport or empty."""

    __tablename__ = "slot_state"
    device: Mapped[str] = mapped_column(sa.ForeignKey("device.id"), primary_key=True)
    slot: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    state: Mapped[str] = mapped_column(sa.String(16))
    generation: Mapped[int]
    artifact: Mapped[str] = mapped_column(sa.String(64))
    model: Mapped[str] = mapped_column(sa.String(64))
    version: Mapped[str] = mapped_column(sa.String(64))
    since: Mapped[float]
    last_update: Mapped[str] = mapped_column(sa.Text)


class UpdateHistoryRow(Base):
    """One update of one slot, as last reported: the history, and what rollouts judge by."""

    __tablename__ = "update_history"
    id: Mapped[int] = mapped_column(primary_key=True)
    device: Mapped[str] = mapped_column(sa.ForeignKey("device.id"))
    slot: Mapped[str] = mapped_column(sa.String(64))
    revision: Mapped[int] = mapped_column(sa.BigInteger)
    rollout: Mapped[str] = mapped_column(sa.String(64), index=True)
    artifact: Mapped[str] = mapped_column(sa.String(64))
    outcome: Mapped[str] = mapped_column(sa.String(16))
    body: Mapped[str] = mapped_column(sa.Text)
    first_at: Mapped[float]
    last_at: Mapped[float]
    __table_args__ = (sa.UniqueConstraint("device", "slot", "revision", "artifact", "rollout"),)


class AssignmentRow(Base):
    """What a device should run: `body` is the assignment in canonical JSON."""

    __tablename__ = "assignment"
    device: Mapped[str] = mapped_column(sa.ForeignKey("device.id"), primary_key=True)
    revision: Mapped[int] = mapped_column(sa.BigInteger)
    issued_at: Mapped[float] = mapped_column(index=True)
    body: Mapped[str] = mapped_column(sa.Text)


class TelemetryEpochRow(Base):
    """One outbox of a device: which of its items came (`telemetry.arrivals`), how many windows, and when last."""

    __tablename__ = "telemetry_epoch"
    id: Mapped[int] = mapped_column(primary_key=True)
    device: Mapped[str] = mapped_column(sa.ForeignKey("device.id"))
    epoch: Mapped[str] = mapped_column(sa.String(128))
    seen: Mapped[bytes] = mapped_column(sa.LargeBinary)
    windows: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    last_at: Mapped[float] = mapped_column(default=0.0)
    __table_args__ = (sa.UniqueConstraint("device", "epoch"),)


class TelemetryFleetSeriesRow(Base):
    """What latency is summed by over the whole fleet."""

    __tablename__ = "telemetry_fleet_series"
    id: Mapped[int] = mapped_column(primary_key=True)
    slot: Mapped[str] = mapped_column(sa.String(64))
    artifact: Mapped[str] = mapped_column(sa.String(64))
    model: Mapped[str] = mapped_column(sa.String(64))
    version: Mapped[str] = mapped_column(sa.String(64))
    hardware_class: Mapped[str] = mapped_column(sa.String(64))
    throttled: Mapped[bool]
    __table_args__ = (sa.UniqueConstraint("slot", "artifact", "model", "version", "hardware_class", "throttled"),)


class TelemetrySeriesRow(Base):
    """What one device's latency is summed by; `fleet` is the series of the whole fleet that it counts towards."""

    __tablename__ = "telemetry_series"
    id: Mapped[int] = mapped_column(primary_key=True)
    device: Mapped[str] = mapped_column(sa.ForeignKey("device.id"))
    slot: Mapped[str] = mapped_column(sa.String(64))
    artifact: Mapped[str] = mapped_column(sa.String(64))
    model: Mapped[str] = mapped_column(sa.String(64))
    version: Mapped[str] = mapped_column(sa.String(64))
    hardware_class: Mapped[str] = mapped_column(sa.String(64))
    throttled: Mapped[bool]
    probation: Mapped[bool]
    fleet: Mapped[int] = mapped_column(sa.ForeignKey("telemetry_fleet_series.id"), index=True)
    __table_args__ = (
        sa.UniqueConstraint(
            "device", "slot", "artifact", "model", "version", "hardware_class", "throttled", "probation"
        ),
    )


class TelemetryMinuteRow(Base):
    """A window as it came, minutes long; `body` is its histograms (`telemetry.packing`), `start` and `stop` milliseconds
    since 1970. `epoch` and `seq` are the item's: with them the key is unique, whatever a device's clock does.
    """

    __tablename__ = "telemetry_minute"
    series: Mapped[int] = mapped_column(sa.ForeignKey("telemetry_series.id"), primary_key=True)
    start: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    stop: Mapped[int] = mapped_column(sa.BigInteger)
    received_at: Mapped[float] = mapped_column(index=True)
    ok: Mapped[int] = mapped_column(sa.BigInteger)
    errors: Mapped[int] = mapped_column(sa.BigInteger)
    body: Mapped[bytes] = mapped_column(sa.LargeBinary)
    # Clustered by the key: a device's windows lie beside each other, and the key is stored once.
    __table_args__ = (_BY_KEY,)


class TelemetryPendingRow(Base):
    """A window that is not yet in its hour, its day and the fleet's."""

    __tablename__ = "telemetry_pending"
    series: Mapped[int] = mapped_column(primary_key=True)
    start: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    __table_args__ = (_BY_KEY,)


class _Bucket:
    """A sum over all windows that began in an hour (level 1) or a day (level 2), UTC, of one series. `first` and
    `last` are when its first window began and its last ended; `received_at` and `received_last` frame when they came.
    """

    level: Mapped[int] = mapped_column(primary_key=True)
    start: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    first: Mapped[int] = mapped_column(sa.BigInteger)
    last: Mapped[int] = mapped_column(sa.BigInteger)
    received_at: Mapped[float]
    received_last: Mapped[float]
    windows: Mapped[int] = mapped_column(sa.BigInteger)
    ok: Mapped[int] = mapped_column(sa.BigInteger)
    errors: Mapped[int] = mapped_column(sa.BigInteger)
    body: Mapped[bytes] = mapped_column(sa.LargeBinary)


class TelemetryBucketRow(_Bucket, Base):
    """Hours and days of a device's series."""

    __tablename__ = "telemetry_bucket"
    series: Mapped[int] = mapped_column(sa.ForeignKey("telemetry_series.id"), primary_key=True, sort_order=-1)
    __table_args__ = (_BY_KEY,)


class TelemetryFleetBucketRow(_Bucket, Base):
    """Hours and days of a series of the whole fleet."""

    __tablename__ = "telemetry_fleet_bucket"
    series: Mapped[int] = mapped_column(
        sa.ForeignKey("telemetry_fleet_series.id"), primary_key=True, sort_order=-1
    )
    __table_args__ = (_BY_KEY,)


class TelemetryGaugeRow(Base):
    """A device's gauges: as they came (level 0), or an hour's or a day's least, mean and most (`telemetry.gauges`)."""

    __tablename__ = "telemetry_gauge"
    device: Mapped[str] = mapped_column(sa.ForeignKey("device.id"), primary_key=True)
    level: Mapped[int] = mapped_column(primary_key=True)
    start: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    received_at: Mapped[float]
    body: Mapped[bytes] = mapped_column(sa.LargeBinary)
    __table_args__ = (sa.Index("telemetry_gauge_by_age", "level", "received_at"), _BY_KEY)


class TelemetryNewestRow(Base):
    """A device's newest gauges."""

    __tablename__ = "telemetry_newest"
    device: Mapped[str] = mapped_column(sa.ForeignKey("device.id"), primary_key=True)
    at: Mapped[int] = mapped_column(sa.BigInteger)
    body: Mapped[bytes] = mapped_column(sa.LargeBinary)


class TelemetryNoteRow(Base):
    """A swap record or an event; `body` is it in JSON."""

    __tablename__ = "telemetry_note"
    device: Mapped[str] = mapped_column(sa.ForeignKey("device.id"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    kind: Mapped[str] = mapped_column(sa.String(16))
    at: Mapped[float]
    received_at: Mapped[float] = mapped_column(index=True)
    body: Mapped[str] = mapped_column(sa.Text)
    __table_args__ = (sa.Index("telemetry_note_by_device", "device", "kind", "at"),)


class TelemetrySampleRow(Base):
    """A time in which a device's minutes are kept longer than others': received from `since` to `until`."""

    __tablename__ = "telemetry_sample"
    device: Mapped[str] = mapped_column(sa.ForeignKey("device.id"), primary_key=True)
    since: Mapped[float] = mapped_column(primary_key=True)
    until: Mapped[float]


class RolloutRow(Base):
    """A rollout: its plan and where it stands.

    `back` is what a rollback takes back (`wave` or `all`); `cohort` how many devices were selected at the last look;
    `approved` how many waves a person has approved; `due_at` when time alone will change something, 0 for never.
    """

    __tablename__ = "rollout"
    number: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(sa.String(64))
    version: Mapped[str] = mapped_column(sa.String(64))
    slot: Mapped[str] = mapped_column(sa.String(64))
    selector: Mapped[str] = mapped_column(sa.Text)
    plan: Mapped[str] = mapped_column(sa.Text)
    policy: Mapped[str] = mapped_column(sa.Text)
    state: Mapped[str] = mapped_column(sa.String(16), index=True)
    wave: Mapped[int]
    reason: Mapped[str] = mapped_column(sa.Text)
    created_at: Mapped[float]
    changed_at: Mapped[float]
    back: Mapped[str] = mapped_column(sa.String(16), default="")
    cohort: Mapped[int] = mapped_column(default=0)
    approved: Mapped[int] = mapped_column(default=1)
    due_at: Mapped[float] = mapped_column(default=0.0)


class RolloutDeviceRow(Base):
    """A device that a rollout reached.

    `previous` is the SlotAssignment to go back to, empty for none; `told_at` since when it can know of what it was
    assigned, 0 while it was never there; `tried` how often it was asked again after a failure; `held` that a pause, or
    the end of its window, took back what it was assigned.
    `committed_by` is what its commit rests on, `requests` or `goldens`; empty before.
    """

    __tablename__ = "rollout_device"
    rollout: Mapped[int] = mapped_column(sa.ForeignKey("rollout.number"), primary_key=True)
    device: Mapped[str] = mapped_column(sa.ForeignKey("device.id"), primary_key=True)
    wave: Mapped[int]
    artifact: Mapped[str] = mapped_column(sa.String(64))
    revision: Mapped[int] = mapped_column(sa.BigInteger)
    assigned_at: Mapped[float]
    previous: Mapped[str] = mapped_column(sa.Text)
    going_back: Mapped[bool] = mapped_column(default=False)
    told_at: Mapped[float] = mapped_column(default=0.0)
    held: Mapped[bool] = mapped_column(default=False)
    status: Mapped[str] = mapped_column(sa.String(16))
    status_at: Mapped[float]
    code: Mapped[str] = mapped_column(sa.String(64), default="")
    message: Mapped[str] = mapped_column(sa.Text, default="")
    committed_by: Mapped[str] = mapped_column(sa.String(16), default="", server_default="")
    tried: Mapped[int] = mapped_column(default=0)


class RolloutMemberRow(Base):
    """A device that was selected when a rollout began which takes no others in."""

    __tablename__ = "rollout_member"
    rollout: Mapped[int] = mapped_column(sa.ForeignKey("rollout.number"), primary_key=True)
    device: Mapped[str] = mapped_column(sa.ForeignKey("device.id"), primary_key=True)


class RolloutWaveRow(Base):
    """A wave that a gate watches. `controls` are the devices that it is held against, by hardware class, in JSON; `alpha`
    is its share of the rollout's false alarms, 0 where it can't be tested; `overruled`: a person went on after a breach.
    """

    __tablename__ = "rollout_wave"
    rollout: Mapped[int] = mapped_column(sa.ForeignKey("rollout.number"), primary_key=True)
    wave: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    began_at: Mapped[float]
    alpha: Mapped[float]
    controls: Mapped[str] = mapped_column(sa.Text)
    overruled: Mapped[bool] = mapped_column(default=False)


class RolloutLookRow(Base):
    """A look that a gate took at a wave: what it measured of each device, in JSON, and what it said."""

    __tablename__ = "rollout_look"
    rollout: Mapped[int] = mapped_column(sa.ForeignKey("rollout.number"), primary_key=True)
    wave: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[float]
    breach: Mapped[bool]
    text: Mapped[str] = mapped_column(sa.Text)
    measured: Mapped[str] = mapped_column(sa.Text)


class RolloutEventRow(Base):
    """What happened in a rollout, in order; `body` is who ordered it, why, and which devices it names, as JSON."""

    __tablename__ = "rollout_event"
    id: Mapped[int] = mapped_column(primary_key=True)
    rollout: Mapped[int] = mapped_column(sa.ForeignKey("rollout.number"), index=True)
    at: Mapped[float]
    kind: Mapped[str] = mapped_column(sa.String(32))
    text: Mapped[str] = mapped_column(sa.Text)
    body: Mapped[str] = mapped_column(sa.Text, default="")
