"""What is signed, as operators' tools read and bring it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from edgelift_contract.ids import Count, DeviceId, Sha256

_Role = Annotated[str, Meta(pattern=r"^(root|targets|builder|(model|bin)\.[a-z0-9][a-z0-9_.-]{0,70})\Z")]
_Text = Annotated[str, Meta(max_length=5_000_000)]
_Roles = Annotated[dict[_Role, _Text], Meta(max_length=4096)]


class ImageRoles(msgspec.Struct, frozen=True):
    """Signed metadata.

    Attributes:
        roles: of the image repository: role → its text.
        director: the director's root; empty where it isn't brought.
        retired: artifacts of retired releases that nothing needs any more: the next who signs lists them no more.
    """

    roles: _Roles
    director: Annotated[str, Meta(max_length=512_000)] = ""
    retired: Annotated[list[Sha256], Meta(max_length=100_000)] = []


class ImageChanged(msgspec.Struct, frozen=True):
    """What was taken: role → its version; the director's root as `director`."""

    versions: dict[str, int]


class ExportRequest(msgspec.Struct, frozen=True):
    """What is to be carried to a device: for how long it is to hold, days."""

    days: Annotated[int, Meta(ge=1, le=30)] = 7


class CarriedFile(msgspec.Struct, frozen=True):
    """A file that goes along: of an artifact, or its manifest."""

    sha256: Sha256
    size_bytes: Count


class Exported(msgspec.Struct, frozen=True):
    """An assignment that is carried to a device which can't ask for it.

    Attributes:
        device: whom it is for; others refuse it.
        revision: of the assignment.
        expires_at: from then on the device refuses it, seconds since 1970.
        signed: the signed metadata as it travels, in base64.
        files: what the device needs beside it.
    """

    device: DeviceId
    revision: Count
    expires_at: float
    signed: str
    files: list[CarriedFile]


class OnlineKey(msgspec.Struct, frozen=True):
    """The key that the control plane has ready to take the place of its own: the public half, in hex."""

    public: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class KeyView(msgspec.Struct, frozen=True):
    """A key that may sign: its id in metadata, and its public half in hex."""

    id: str
    public: str


class SigningRole(msgspec.Struct, frozen=True):
    """Who signs a role, and until when.

    Attributes:
        role: `root`, `targets`, `builder` with all that is below it, or `online`, the control plane's own.
        keys: of those who may sign it.
        threshold: how many of them it takes.
        expires_at: when the first of what they signed ends.
    """

    role: str
    keys: list[KeyView]
    threshold: int
    expires_at: float


class SigningView(msgspec.Struct, frozen=True):
    """Who signs; empty where the site signs nothing. `warnings`: what ends soon, and what to do."""

    roles: list[SigningRole]
    warnings: list[str]
