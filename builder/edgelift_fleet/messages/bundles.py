"""Bundles of devices: how they are asked for, and what became of it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edgelift_contract.bounds import Text

BundleState = Literal["waiting", "brought", "refused", "expired", "withdrawn"]

#: How long a wish waits for its device, seconds: a minute at least, thirty days at most.
_WaitSeconds = Annotated[float, Meta(ge=60, le=30 * 86400)]


class BundleRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ask a device for its bundle. `why`: kept with it; `wait_s`: how long the wish waits for a device that is away."""

    why: Text = ""
    wait_s: _WaitSeconds = 86400.0


class BundleView(msgspec.Struct, frozen=True):
    """A bundle that was asked for.

    Attributes:
        id, device: which, and whose.
        state: `waiting` for the device; `brought`; `refused` for what is wrong with what it sent; `expired`; `withdrawn`.
        asked_at, expires_at, ended_at: seconds since 1970; the last is 0 while it waits.
        asked_by: the token's name; `why` as it was given.
        size_bytes, sha256: of what came; 0 and empty before.
        kept: can it still be fetched?
        message: why it was refused.
    """

    id: str
    device: str
    state: BundleState
    asked_at: float
    asked_by: str
    why: str
    expires_at: float
    ended_at: float
    size_bytes: int
    sha256: str
    kept: bool
    message: str
