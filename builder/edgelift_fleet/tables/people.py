"""Tables of people, of the tokens by which they and their programs come in, and of what they did."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from edgelift_fleet.tables.base import Base


class PersonRow(Base):
    """A person who may log in; of the password only a slow digest is kept, with its parameters and its salt."""

    __tablename__ = "person"
    name: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    role: Mapped[str] = mapped_column(sa.String(16))
    password: Mapped[str] = mapped_column(sa.String(255))
    made_at: Mapped[float]
    disabled: Mapped[bool] = mapped_column(default=False)


class AccessTokenRow(Base):
    """A token by which somebody speaks to the API; of its secret only the digest is kept."""

    __tablename__ = "access_token"
    id: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    digest: Mapped[str] = mapped_column(sa.String(64))
    #: Whose it is; empty for nobody's.
    person: Mapped[str] = mapped_column(sa.String(64), default="", index=True)
    role: Mapped[str] = mapped_column(sa.String(16))
    note: Mapped[str] = mapped_column(sa.Text, default="")
    #: Came of a login, not made for a program.
    login: Mapped[bool] = mapped_column(default=False)
    made_at: Mapped[float]
    made_by: Mapped[str] = mapped_column(sa.String(80), default="")
    expires_at: Mapped[float]
    #: To the hour.
    used_at: Mapped[float] = mapped_column(default=0.0)
    revoked_at: Mapped[float] = mapped_column(default=0.0)


class AuditRow(Base):
    """What somebody did: see `messages.audit.AuditEntry`. Rows are added; the database itself refuses any other change."""

    __tablename__ = "audit"
    number: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[float] = mapped_column(index=True)
    who: Mapped[str] = mapped_column(sa.String(80), index=True)
    role: Mapped[str] = mapped_column(sa.String(16))
    address: Mapped[str] = mapped_column(sa.String(64))
    operation: Mapped[str] = mapped_column(sa.String(64))
    method: Mapped[str] = mapped_column(sa.String(16))
    path: Mapped[str] = mapped_column(sa.Text)
    about: Mapped[str] = mapped_column(sa.Text)
    why: Mapped[str] = mapped_column(sa.Text)
    outcome: Mapped[str] = mapped_column(sa.String(64))
    ends: Mapped[int] = mapped_column(sa.BigInteger, index=True)
    digest: Mapped[str] = mapped_column(sa.String(64))
