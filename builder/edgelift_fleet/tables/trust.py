"""Tables of what is signed."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from edgelift_fleet.tables.base import Base


class SignedRow(Base):
    """Signed metadata of one of the two repositories, as it was signed: all versions of a root, the newest of others."""

    __tablename__ = "signed"
    repository: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    role: Mapped[str] = mapped_column(sa.String(80), primary_key=True)
    version: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    body: Mapped[str] = mapped_column(sa.Text)
