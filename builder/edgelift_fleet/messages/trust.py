"""What is signed, as operators' tools read and bring it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

_Role = Annotated[str, Meta(pattern=r"^(root|targets|builder|(model|bin)\.[a-z0-9][a-z0-9_.-]{0,70})\Z")]
_Text = Annotated[str, Meta(max_length=5_000_000)]
_Roles = Annotated[dict[_Role, _Text], Meta(max_length=4096)]


class ImageRoles(msgspec.Struct, frozen=True):
    """Signed metadata of the image repository: role → its text."""

    roles: _Roles


class ImageChanged(msgspec.Struct, frozen=True):
    """What the image repository took: role → its version."""

    versions: dict[str, int]
