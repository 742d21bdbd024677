"""Tables of releases, devices and what they should run, and of the servers themselves."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from edgelift_fleet.tables.base import Base


class ControlRow(Base):
    """What the servers of a site tell each other: `term` counts leaders, `leader` says who it is."""

    __tablename__ = "control"
    name: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    value: Mapped[str] = mapped_column(sa.Text)


class KeptAnswerRow(Base):
    """What was answered to a request that bore a key of its own: see `conditions`. `request` is a digest of it."""

    __tablename__ = "kept_answer"
    key: Mapped[str] = mapped_column(sa.String(255), primary_key=True)
    request: Mapped[str] = mapped_column(sa.String(64))
    at: Mapped[float] = mapped_column(index=True)
    size_bytes: Mapped[int] = mapped_column(sa.BigInteger)
    body: Mapped[str] = mapped_column(sa.Text)


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
    """A published release; `body` is its release.json. `retired_at`: since when it is given to nobody new, 0 for never."""

    __tablename__ = "release"
    id: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(sa.String(64))
    version: Mapped[str] = mapped_column(sa.String(64))
    release_counter: Mapped[int] = mapped_column(sa.BigInteger)
    body: Mapped[str] = mapped_column(sa.Text)
    published_at: Mapped[float]
    retired_at: Mapped[float] = mapped_column(default=0.0, server_default="0")
    retired_why: Mapped[str] = mapped_column(sa.Text, default="", server_default="")
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
    nonce: Mapped[str] = mapped_column(sa.String(32), default="", server_default="")
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
    #: A list of `Degradation` in JSON; empty for none.
    degraded: Mapped[str] = mapped_column(sa.Text, default="", server_default="")


class TagRow(Base):
    """A tag; `source` is `device` (from its configuration) or `operator`, who wins."""

    __tablename__ = "device_tag"
    device: Mapped[str] = mapped_column(sa.ForeignKey("device.id"), primary_key=True)
    key: Mapped[str] = mapped_column(sa.String(64), primary_key=True, index=True)
    value: Mapped[str] = mapped_column(sa.Text, default="")
    source: Mapped[str] = mapped_column(sa.String(16))


class DeviceDroppedRow(Base):
    """How many of something went of a device because it had too many (`caps`)."""

    __tablename__ = "device_dropped"
    device: Mapped[str] = mapped_column(sa.ForeignKey("device.id"), primary_key=True)
    what: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    number: Mapped[int] = mapped_column(sa.BigInteger)


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
    __table_args__ = (sa.Index("ix_slot_state_model_version", "model", "version"),)


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
