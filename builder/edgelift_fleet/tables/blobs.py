"""Tables of what lies in the blob store."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from edgelift_fleet.tables.base import Base


class UnnamedBlobRow(Base):
    """A blob that nothing named when it was looked for, and since when; see `unnamed`."""

    __tablename__ = "unnamed_blob"
    sha256: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    since: Mapped[float]
