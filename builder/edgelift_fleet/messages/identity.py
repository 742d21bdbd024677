"""Tokens and certificates, as operators make and see them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from edgelift_contract.bounds import Line, Tags


class TokenRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token to be made.

    Attributes:
        uses: how many devices may come by it.
        days: for how long.
        tags: what they get.
        note: for people.
    """

    uses: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    days: Annotated[float, Meta(gt=0, le=3650)] = 1.0
    tags: Tags = {}
    note: Line = ""


class TokenMade(msgspec.Struct, frozen=True):
    """A token that was made; its secret is shown this once.

    Attributes:
        id: by which it is listed and taken back.
        token: what is handed to whoever sets a device up.
        expires_at: until when it holds.
    """

    id: str
    token: str
    expires_at: float


class TokenView(msgspec.Struct, frozen=True):
    """A token, without its secret. `state` is `open`, `spent`, `expired` or `revoked`."""

    id: str
    state: str
    uses: int
    used: int
    made_at: float
    expires_at: float
    tags: dict[str, str]
    note: str


class IdentityEnded(msgspec.Struct, frozen=True):
    """How many certificates of a device were taken back."""

    device: str
    ended: int


class IdentityView(msgspec.Struct, frozen=True):
    """What a device is known by.

    Attributes:
        state: `valid`, `expired`, `removed` or `replaced`.
        serial: of its newest certificate.
        issued_at, not_after: when it was made, and until when it holds.
        shown_at: when it was first shown; 0 for never.
        address: where it was sent.
        token: the one that it came by; empty for a renewal.
        contested_by, contested_at: who else wanted to be this device last, and when; empty and 0 for nobody.
    """

    state: str
    serial: str
    issued_at: float
    not_after: float
    shown_at: float
    address: str
    token: str = ""
    contested_by: str = ""
    contested_at: float = 0.0
