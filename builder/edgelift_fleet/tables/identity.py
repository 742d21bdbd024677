"""Tables of who devices are, and of the tokens by which they first come."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from edgelift_fleet.tables.base import Base


class IdentityRow(Base):
    """A certificate that was made for a device. `number` rises with every change of any row: who looks again reads on."""

    __tablename__ = "identity"
    serial: Mapped[str] = mapped_column(sa.String(40), primary_key=True)
    device: Mapped[str] = mapped_column(sa.String(64), index=True)
    public_key: Mapped[str] = mapped_column(sa.String(64))
    issued_at: Mapped[float]
    not_after: Mapped[float]
    address: Mapped[str] = mapped_column(sa.String(64), default="")
    token: Mapped[str] = mapped_column(sa.String(16), default="")
    #: When it was first shown; until then the device may have never got it.
    shown_at: Mapped[float] = mapped_column(default=0.0)
    #: Serial of the one that came after it; empty for the device's newest.
    succeeded_by: Mapped[str] = mapped_column(sa.String(40), default="")
    revoked_at: Mapped[float] = mapped_column(default=0.0)
    why: Mapped[str] = mapped_column(sa.Text, default="")
    #: Who else wanted to be this device last, and when.
    contested_by: Mapped[str] = mapped_column(sa.String(64), default="")
    contested_at: Mapped[float] = mapped_column(default=0.0)
    number: Mapped[int] = mapped_column(sa.BigInteger, index=True)


class EnrolTokenRow(Base):
    """A token by which devices may enrol; of its secret only the digest is kept."""

    __tablename__ = "enrol_token"
    id: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    digest: Mapped[str] = mapped_column(sa.String(64))
    made_at: Mapped[float]
    expires_at: Mapped[float]
    uses: Mapped[int]
    used: Mapped[int] = mapped_column(default=0)
    tags: Mapped[str] = mapped_column(sa.Text, default="{}")
    note: Mapped[str] = mapped_column(sa.Text, default="")
    revoked_at: Mapped[float] = mapped_column(default=0.0)
