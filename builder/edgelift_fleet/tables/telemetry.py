"""Tables of what devices measured."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from edgelift_fleet.tables.base import BY_KEY, Base


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
    __table_args__ = (BY_KEY,)


class TelemetryPendingRow(Base):
    """A window that is not yet in its hour, its day and the fleet's."""

    __tablename__ = "telemetry_pending"
    series: Mapped[int] = mapped_column(primary_key=True)
    start: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    __table_args__ = (BY_KEY,)


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
    __table_args__ = (BY_KEY,)


class TelemetryFleetBucketRow(_Bucket, Base):
    """Hours and days of a series of the whole fleet."""

    __tablename__ = "telemetry_fleet_bucket"
    series: Mapped[int] = mapped_column(
        sa.ForeignKey("telemetry_fleet_series.id"), primary_key=True, sort_order=-1
    )
    __table_args__ = (BY_KEY,)


class TelemetryCohortRow(Base):
    """A set of devices whose sums are remembered (`telemetry.cohorts`): `members` are their ids, `digest` is what tells the
    set. Days are remembered from `days_from` on, hours from `hours_from` on, milliseconds since 1970; nothing where it is
    0. `ready_at` is when all of that was first there.
    """

    __tablename__ = "telemetry_cohort"
    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(sa.String(64), unique=True)
    members: Mapped[bytes] = mapped_column(sa.LargeBinary)
    days_from: Mapped[int] = mapped_column(sa.BigInteger)
    hours_from: Mapped[int] = mapped_column(sa.BigInteger)
    asked_at: Mapped[float]
    ready_at: Mapped[float]


class TelemetryCohortSumRow(Base):
    """What a cohort's devices hold together of an hour or a day, by series of the fleet (`telemetry.cohort_sums`).

    A row that is there is exactly the sum of its devices' buckets; one that is not there is summed afresh.
    """

    __tablename__ = "telemetry_cohort_sum"
    cohort: Mapped[int] = mapped_column(sa.ForeignKey("telemetry_cohort.id"), primary_key=True)
    level: Mapped[int] = mapped_column(primary_key=True)
    start: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    body: Mapped[bytes] = mapped_column(sa.LargeBinary)
    __table_args__ = (BY_KEY,)


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
    __table_args__ = (sa.Index("telemetry_gauge_by_age", "level", "received_at"), BY_KEY)


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


class TelemetryDoubtRow(Base):
    """What was set aside of a device's telemetry because it can't be (`telemetry.plausible`): how much, when, and why."""

    __tablename__ = "telemetry_doubt"
    device: Mapped[str] = mapped_column(sa.ForeignKey("device.id"), primary_key=True)
    windows: Mapped[int] = mapped_column(sa.BigInteger)
    gauges: Mapped[int] = mapped_column(sa.BigInteger)
    since: Mapped[float]
    last_at: Mapped[float]
    why: Mapped[str] = mapped_column(sa.Text)


class TelemetrySampleRow(Base):
    """A time in which a device's minutes are kept longer than others': received from `since` to `until`."""

    __tablename__ = "telemetry_sample"
    device: Mapped[str] = mapped_column(sa.ForeignKey("device.id"), primary_key=True)
    since: Mapped[float] = mapped_column(primary_key=True)
    until: Mapped[float]
