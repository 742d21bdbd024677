"""Table of traces that wait to be sent."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from edgelift_fleet.tables.base import Base


class UpdateTraceRow(Base):
    """An update that ended, of which no receiver of traces was told yet; `body` is an `untold.EndedUpdate` in JSON."""

    __tablename__ = "update_trace"
    id: Mapped[int] = mapped_column(primary_key=True)
    device: Mapped[str] = mapped_column(sa.String(64), index=True)
    body: Mapped[str] = mapped_column(sa.Text)
