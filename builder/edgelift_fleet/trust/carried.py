"""What is to be signed, as a file to be carried: to a machine that has the keys and nothing else, and back.

It holds what changes with the signatures so far, and what stands of the same roles, so that a signer is shown what he signs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from edgelift_contract import codec
from edgelift_contract.bounds import Schema
from edgelift_contract.errors import ContractError, DeviceError
from edgelift_fleet.files import disk_errors, write_atomically
from edgelift_fleet.messages.trust import ImageRoles
from edgelift_fleet.trust.change import Change
from edgelift_fleet.trust.image import Image

MAX_CARRIED_BYTES = 32 << 20


class ToSign(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What such a file holds.

    Attributes:
        why: what made it, in a person's words.
        standing: what is signed now, of the roles that change and those that say who signs.
        changed: what is to be signed; or signed already, by so many as did.
    """

    SCHEMA: ClassVar[int] = 1

    schema: Schema
    why: Annotated[str, Meta(max_length=1000)]
    standing: ImageRoles
    changed: ImageRoles


def carried(change: Change, standing: ImageRoles, why: str) -> ToSign:
    """A change as it is carried."""
    needed = {"root", "targets", "builder"} | change.image.changed
    models = {name.partition(".")[2].rpartition("-")[0] for name in needed if name.startswith("bin.")}
    needed |= {f"model.{model}" for model in models}
    return ToSign(
        schema=ToSign.SCHEMA, why=why,
        standing=ImageRoles({role: text for role, text in standing.roles.items() if role in needed}, standing.director),
        changed=brought(change),
    )  # fmt: skip


def brought(change: Change) -> ImageRoles:
    """What changed, as the control plane takes it."""
    roles = {role: data.decode() for role, data in change.image.files().items()}
    return ImageRoles(roles, "".join(data.decode() for data in change.director.files().values()))


def change_of(carried: ToSign) -> Change:
    """The change that a file holds, with its signatures. Raises ContractError `malformed`."""
    made = Change.of(_bytes(carried.standing.roles), carried.standing.director.encode())
    director = {"root": carried.changed.director} if carried.changed.director else {}
    for part, roles in ((made.image, carried.changed.roles), (made.director, director)):
        new = Image.load(_bytes(roles))
        if "root" in new.roles:
            part.before = part.roles["root"].signed
        part.roles |= new.roles
        part.changed = set(new.roles)
    return made


def _bytes(roles: Mapping[str, str]) -> dict[str, bytes]:
    return {role: text.encode() for role, text in roles.items()}


def read_carried(path: Path) -> ToSign:
    """Read such a file.

    Raises:
        ContractError: `not-found`, `malformed`, `too-large`, `unknown-schema`.
        DeviceError: `bad-config` when it can't be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CARRIED_BYTES + 1)
    except FileNotFoundError:
        raise ContractError("not-found", f"There is no file {path}.") from None
    except OSError as error:
        raise DeviceError("bad-config", f"The file {path} cannot be read: {error.strerror}.") from error
    return codec.decode_json(data, ToSign, what=f"file {path}", limit_bytes=MAX_CARRIED_BYTES)


def write_carried(path: Path, what: ToSign, *, again: bool = False) -> None:
    """Write it; `again` over itself, with more signatures.

    Raises:
        ContractError: `conflict` when there is a file of that name.
        DeviceError: what the disk refuses.
    """
    if path.exists() and not again:
        raise ContractError("conflict", f"There is a file {path} already.", hint="Name another one.")
    with disk_errors(f"the file {path}"):
        write_atomically(path, codec.canonical_json(what) + b"\n", mode=0o644)
