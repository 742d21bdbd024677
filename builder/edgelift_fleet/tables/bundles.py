"""Tables of what operators asked devices for: who, why and when, and the bundle that came."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from edgelift_fleet.tables.base import Base


class BundleRow(Base):
    """A wish for a bundle and what became of it: `state` is `waiting`, `brought`, `refused`, `expired` or `withdrawn`.
    The row is the record of it and stays when the bundle itself is gone.
    """

    __tablename__ = "bundle"
    id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    device: Mapped[str] = mapped_column(sa.ForeignKey("device.id"), index=True)
    state: Mapped[str] = mapped_column(sa.String(16), index=True)
    asked_at: Mapped[float] = mapped_column(index=True)
    asked_by: Mapped[str] = mapped_column(sa.String(64))
    why: Mapped[str] = mapped_column(sa.Text)
    expires_at: Mapped[float]
    ended_at: Mapped[float] = mapped_column(default=0.0)
    sha256: Mapped[str] = mapped_column(sa.String(64), default="")
    size_bytes: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    #: Are its bytes still here?
    kept: Mapped[bool] = mapped_column(default=False)
    message: Mapped[str] = mapped_column(sa.Text, default="")


class BundleBodyRow(Base):
    """The bundle itself, apart from its record: lists never read it."""

    __tablename__ = "bundle_body"
    id: Mapped[str] = mapped_column(sa.ForeignKey("bundle.id"), primary_key=True)
    device: Mapped[str] = mapped_column(sa.ForeignKey("device.id"), index=True)
    body: Mapped[bytes] = mapped_column(sa.LargeBinary)
