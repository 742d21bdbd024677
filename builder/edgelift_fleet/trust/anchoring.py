"""What whoever signs holds a control plane's word against, before he puts his name under it.

What stands comes from the control plane, or in a file from somebody: were it believed, a stolen control plane could slip
another artifact into what is signed next. So the root that was seen last lies beside the keys; what stands must follow from
it, signature by signature, and what is new must have the form that it always has.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata

from edgelift_contract.errors import ContractError, DeviceError
from edgelift_fleet.files import disk_errors, write_atomically
from edgelift_fleet.trust.admission import verify
from edgelift_fleet.trust.change import Change
from edgelift_fleet.trust.image import Image
from edgelift_fleet.trust.shape import check_role, check_roots, check_targets

#: Beside the keys: the image repository's root that was seen last.
ANCHOR = "trusted-root.json"
_MAX_BYTES = 512_000


def check_change(change: Change, standing: Mapping[str, bytes], folder: Path | None, now: float) -> None:
    """What stands follows from the root that is remembered in `folder`, and what is to be signed has its form.

    Args:
        change: what is to be signed.
        standing: role → what is said to stand.
        folder: where the keys are; None remembers nothing.
        now: seconds since 1970.

    Raises:
        ContractError: `not-signed` or `metadata-wrong`.
        DeviceError: `bad-config` when the remembered root can't be read; what the disk refuses.
    """
    known = Image.load(standing)
    top = known.roles.get("root")
    if top is None or "targets" not in known.roles:
        raise ContractError("metadata-wrong", "It does not say what stands.")
    _check_root(top, folder)
    check_targets(known.roles["targets"].signed)
    for role, metadata in known.roles.items():
        verify(role, metadata, known.roles)
        if role != "root":
            check_role(role, metadata, known.builders(), metadata.signed.expires.timestamp() - 1)
    check_targets(change.image.roles["targets"].signed)
    if change.director.changed or "root" in change.image.changed:
        check_roots(change.image.roles["root"].signed, change.director.roles["root"].signed)
    for role in change.image.changed:
        metadata = change.image.roles[role]
        before = known.roles[role].signed.version if role in known.roles else 0
        if metadata.signed.version != before + 1:
            raise ContractError("metadata-wrong", f"The role {role} does not follow what stands.")
        check_role(role, metadata, change.image.builders(), now)


def remember(root: bytes, folder: Path) -> None:
    """The root that is trusted from now on by who has the keys of `folder`. Raises DeviceError: the disk's."""
    with disk_errors(f"the file {folder / ANCHOR}"):
        if not (folder / ANCHOR).exists() or (folder / ANCHOR).read_bytes() != root:
            write_atomically(folder / ANCHOR, root, mode=0o600)


def _check_root(top: Metadata[Any], folder: Path | None) -> None:
    trusted = _remembered(folder)
    if trusted is None:
        return
    path = (folder or Path()) / ANCHOR
    if top.signed == trusted.signed:
        return
    try:
        if top.signed.version <= trusted.signed.version:
            raise ValueError(f"it is version {top.signed.version}, after {trusted.signed.version}")
        trusted.signed.verify_delegate("root", top.signed_bytes, top.signatures)
    except (RepositoryError, ValueError) as error:
        raise ContractError(
            "not-signed", f"The root that is said to stand does not follow from the one that is remembered here: {error}.",
            hint="If all root keys were replaced more than once since, the site was restored from an older backup, or it is"
            f" another site, take {path} away, and compare the keys of edgelift keys list with the other holders. After a"
            " restore, devices must see a newer root than this one: see docs/trust-keys.md.",
        ) from error  # fmt: skip


def _remembered(folder: Path | None) -> Metadata[Any] | None:
    path = None if folder is None else folder / ANCHOR
    if path is None or not path.exists():
        return None
    try:
        with path.open("rb") as file:
            return Image.load({"root": file.read(_MAX_BYTES)}).roles["root"]
    except (OSError, ContractError) as error:
        raise DeviceError("bad-config", f"The remembered root {path} can't be read: {error}.") from error
