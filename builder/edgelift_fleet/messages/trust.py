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
    """Signed metadata of the image repository: role → its text."""

    roles: _Roles


class ImageChanged(msgspec.Struct, frozen=True):
    """What the image repository took: role → its version."""

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
