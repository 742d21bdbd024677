"""Tables of rollouts."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from edgelift_fleet.tables.base import Base


class RolloutRow(Base):
    """A rollout: its plan and where it stands.

    `back` is what a rollback takes back (`wave` or `all`); `cohort` how many devices were selected at the last look;
    `approved` how many waves a person has approved, `awaits` for which wave it waits for one, 0 for none; `due_at` when time
    alone will change something, 0 for never.
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
    awaits: Mapped[int] = mapped_column(default=0, server_default="0")


class RolloutDeviceRow(Base):
    """A device that a rollout reached.

    `previous` is the SlotAssignment to go back to, empty for none; `told_at` since when it can know of what it was
    assigned, 0 while it was never there; `tried` how often it was asked again after a failure; `held` that a pause, or
    the end of its window, took back what it was assigned.
    `committed_by` is what its commit rests on, `requests` or `goldens`; empty before. `lapses` is how often it served
    something else after it had committed, since it was last asked.
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
    lapses: Mapped[int] = mapped_column(default=0, server_default="0")


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
    """A look that a gate took at a wave: what it measured of each device, in JSON, and what it said; `unmeasured`: too few
    had served enough for it to show anything. `figures` is a `LookFigures`; empty of looks from before there were any.
    """

    __tablename__ = "rollout_look"
    rollout: Mapped[int] = mapped_column(sa.ForeignKey("rollout.number"), primary_key=True)
    wave: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[float]
    breach: Mapped[bool]
    text: Mapped[str] = mapped_column(sa.Text)
    measured: Mapped[str] = mapped_column(sa.Text)
    unmeasured: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    figures: Mapped[str] = mapped_column(sa.Text, default="", server_default="")


class RolloutEventRow(Base):
    """What happened in a rollout, in order; `body` is who ordered it, why, and which devices it names, as JSON."""

    __tablename__ = "rollout_event"
    id: Mapped[int] = mapped_column(primary_key=True)
    rollout: Mapped[int] = mapped_column(sa.ForeignKey("rollout.number"), index=True)
    at: Mapped[float]
    kind: Mapped[str] = mapped_column(sa.String(32))
    text: Mapped[str] = mapped_column(sa.Text)
    body: Mapped[str] = mapped_column(sa.Text, default="")
