"""People, access tokens and logins, as operators make and see them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edgelift_contract.bounds import Line

_Role = Literal["viewer", "operator", "admin"]
_Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z")]
_Password = Annotated[str, Meta(min_length=10, max_length=256)]


class LoginRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who logs in, and for how long, hours. What is in it can be anything that somebody types."""

    name: Line
    password: Line
    hours: Annotated[float, Meta(gt=0, le=720)] = 12.0


class LoggedIn(msgspec.Struct, frozen=True):
    """A login.

    Attributes:
        token: to be shown with every request; it is in this answer and nowhere else.
        name, role: of whom.
        expires_at: until when it holds.
    """

    token: str
    name: str
    role: str
    expires_at: float


class Me(msgspec.Struct, frozen=True):
    """Who a request comes from. `expires_at` is 0 for a token that holds for ever."""

    name: str
    role: str
    expires_at: float


class PersonRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person to be added."""

    name: _Name
    role: _Role
    password: _Password


class RoleRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another role for a person."""

    role: _Role


class PasswordRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another password for a person."""

    password: _Password


class OwnPasswordRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another password for oneself, with the one that holds now; what `old` says can be anything that somebody types."""

    old: Line
    password: _Password


class PersonView(msgspec.Struct, frozen=True):
    """A person.

    Attributes:
        disabled: nobody comes in by this name.
        tokens: how many access tokens of programs are theirs or were made by them: refused while they are shut out, and
            taken back with them.
    """

    name: str
    role: str
    made_at: float
    disabled: bool
    tokens: int = 0


class PersonRemoved(msgspec.Struct, frozen=True):
    """A person who is gone, and how many tokens ended with them: theirs, and those that they made."""

    name: str
    ended: int


class AccessRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An access token to be made.

    Attributes:
        role: at most its maker's.
        days: for how long.
        note: for people.
        person: whose it is: it may no more than they, and ends with them, as with who makes it; empty for nobody's.
    """

    role: _Role
    days: Annotated[float, Meta(gt=0, le=3650)] = 90.0
    note: Line = ""
    person: Annotated[str, Meta(max_length=64)] = ""


class AccessMade(msgspec.Struct, frozen=True):
    """An access token that was made; its secret is shown this once."""

    id: str
    token: str
    role: str
    expires_at: float


class AccessView(msgspec.Struct, frozen=True):
    """An access token, without its secret.

    Attributes:
        state: `open`, `expired`, `revoked`, or `shut-out` as long as whose it is or who made it is.
        person: whose it is; empty for nobody's.
        made_by: who made it; of one that was made by a token, who made that.
        used_at: when it was last used, to the hour; 0 for never.
    """

    id: str
    state: str
    role: str
    person: str
    note: str
    made_at: float
    made_by: str
    expires_at: float
    used_at: float
