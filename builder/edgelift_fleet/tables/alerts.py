"""Tables of alerts: what is wrong, of what people were told, what waits for a receiver, and what is silenced."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from edgelift_fleet.tables.base import Base


class AlertRow(Base):
    """A trouble of one device, rollout, receiver, or of the site. `fired_at`: since when it counts, 0 as long as it doesn't;
    `state_at` since when it is in its state: see `alerts.decide.Standing`.
    """

    __tablename__ = "alert"
    code: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    subject: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    state: Mapped[str] = mapped_column(sa.String(16))
    since: Mapped[float]
    fired_at: Mapped[float]
    state_at: Mapped[float]
    text: Mapped[str] = mapped_column(sa.Text, default="")


class AlertGroupRow(Base):
    """One alert as people are told of it, of however many devices: see `alerts.tell.Group`."""

    __tablename__ = "alert_group"
    code: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    about: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    began_at: Mapped[float]
    told_at: Mapped[float]
    told: Mapped[int]


class AlertDeliveryRow(Base):
    """A message that a receiver is to have, or, with `given_up_at`, did not get; `body` is an AlertMessage in JSON.
    `taken_until`: until then whoever took it may be sending it.
    """

    __tablename__ = "alert_delivery"
    receiver: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    id: Mapped[str] = mapped_column(sa.String(40), primary_key=True)
    made_at: Mapped[float]
    next_at: Mapped[float]
    taken_until: Mapped[float]
    tries: Mapped[int]
    given_up_at: Mapped[float]
    error: Mapped[str] = mapped_column(sa.Text)
    body: Mapped[str] = mapped_column(sa.Text)


class AlertSilenceRow(Base):
    """What nobody is told of until `until`: a code, of devices of a selector, or of one rollout; empty for all."""

    __tablename__ = "alert_silence"
    id: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    code: Mapped[str] = mapped_column(sa.String(32))
    selector: Mapped[str] = mapped_column(sa.Text)
    rollout: Mapped[str] = mapped_column(sa.String(16))
    until: Mapped[float]
    made_at: Mapped[float]
    made_by: Mapped[str] = mapped_column(sa.String(80))
    why: Mapped[str] = mapped_column(sa.Text)
    ended_at: Mapped[float]
