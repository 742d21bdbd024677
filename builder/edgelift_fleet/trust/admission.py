"""What the control plane takes into the image repository: what the right keys signed, and nothing that only looks so.

It can't sign any of this itself, and devices judge it once more. It is judged here so that whoever publishes learns of a
mistake at once, and no device has to.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets
from tuf.api.serialization.json import CanonicalJSONSerializer

from edgelift_contract.errors import ContractError
from edgelift_fleet.trust.image import Holders, Image
from edgelift_fleet.trust.shape import check_role, check_roots, check_targets
from edgelift_fleet.trust.store import Stored

#: Most that one role may have, bytes: devices take no more (`LIMITS` of the agent's `repository`).
MAX_ROLE_BYTES = {"root": 512_000}
_MAX_TARGETS_BYTES = 5_000_000
_OWN = ("snapshot", "timestamp")


def admitted(
    stored: Mapping[str, Stored], given: Mapping[str, bytes], now: float | None = None
) -> dict[str, Stored]:  # fmt: skip
    """The roles of the image repository that are to be stored, once all of them held.

    Args:
        stored: role → what is trusted now.
        given: role → its new metadata: `root`, `targets`, `builder`, `model.M`, `bin.M-h`.
        now: seconds since 1970.

    Raises:
        ContractError: `not-signed`, `changed-meanwhile` when it does not follow what is stored, `malformed`, `too-large`,
            `metadata-wrong`.
    """
    now = time.time() if now is None else now
    _refuse_large(given)
    trusted = Image.load({role: one.body for role, one in stored.items() if role not in _OWN})
    new = Image.load(given)
    for role in sorted(new.roles, key=_order):
        _follows(role, new.roles[role], stored.get(role))
        verify(role, new.roles[role], trusted.roles)
        trusted.roles[role] = new.roles[role]
    check_targets(trusted.roles["targets"].signed)
    builders = trusted.builders()
    for role, metadata in new.roles.items():
        check_role(role, metadata, builders, now)
    for role, metadata in trusted.roles.items():
        if role not in new.roles and not new.roles.keys().isdisjoint((_parent(role), "targets")):
            verify(role, metadata, trusted.roles)  # what stands must hold under new keys too
            check_role(role, metadata, builders, metadata.signed.expires.timestamp() - 1)
        if role.startswith("model.") and not trusted.roles.keys() >= set(trusted.bins(role)):
            raise ContractError("metadata-wrong", f"Of the role {role} not all bins are there.")
    return _stored(new, given)


def admitted_director(stored: Mapping[str, Stored], given: bytes, now: float | None = None) -> dict[str, Stored]:
    """The director's new root, which those of the one before and its own holders signed. As `admitted`."""
    _refuse_large({"root": given})
    trusted, new = Image.load({"root": stored["root"].body}), Image.load({"root": given})
    _follows("root", new.roles["root"], stored["root"])
    verify("root", new.roles["root"], trusted.roles)
    check_role("root", new.roles["root"], Holders(()), time.time() if now is None else now)
    return _stored(new, {"root": given})


def check_both(image: Mapping[str, Stored], director: Mapping[str, Stored]) -> None:
    """Both roots as they are to stand name the same keys. Raises ContractError `metadata-wrong`."""
    first, second = (Image.load({"root": one["root"].body}).roles["root"].signed for one in (image, director))
    check_roots(first, second)


def _stored(new: Image, given: Mapping[str, bytes]) -> dict[str, Stored]:
    return {role: Stored(metadata.signed.version, given[role]) for role, metadata in new.roles.items()}


def _refuse_large(given: Mapping[str, bytes]) -> None:
    for role, data in given.items():
        if len(data) > MAX_ROLE_BYTES.get(role, _MAX_TARGETS_BYTES):
            raise ContractError("too-large", f"The signed {role} has {len(data)} bytes.")


def _order(role: str) -> tuple[int, str]:
    """Who delegates comes first."""
    steps = ("root", "targets", "builder")
    return (steps.index(role) if role in steps else 3 if role.startswith("model.") else 4), role


def _parent(role: str) -> str:
    if role in ("root", "targets"):
        return "root"
    if role == "builder":
        return "targets"
    if role.startswith("model."):
        return "builder"
    model = role.removeprefix("bin.").rpartition("-")[0]
    if not role.startswith("bin.") or not model:
        raise ContractError("metadata-wrong", f"The image repository has no role {role[:80]!r}.")
    return f"model.{model}"


def _follows(role: str, metadata: Metadata[Any], before: Stored | None) -> None:
    version, kind = metadata.signed.version, Root if role == "root" else Targets
    if not isinstance(metadata.signed, kind):
        raise ContractError("metadata-wrong", f"What is called {role} is signed as {metadata.signed.type}.")
    standing = before.version if before else 0
    if version != standing + 1:
        raise ContractError(
            "changed-meanwhile", f"The signed {role} has version {version}; the next one is {standing + 1}.",
            hint="Sign it again, on what the control plane has now.",
        )  # fmt: skip


def verify(role: str, metadata: Metadata[Any], trusted: Mapping[str, Metadata[Any]]) -> None:
    """A role is signed by whom those that are trusted name for it. Raises ContractError `not-signed`, `metadata-wrong`."""
    payload = CanonicalJSONSerializer().serialize(metadata.signed)
    signers = [trusted.get(_parent(role))]
    if role == "root":
        signers = [one for one in (trusted.get("root"), metadata) if one is not None]
    for signer in signers:
        if signer is None:
            raise ContractError("metadata-wrong", f"Nobody delegates to the role {role}.")
        try:
            signer.signed.verify_delegate(role, payload, metadata.signatures)
        except (RepositoryError, ValueError) as error:
            raise ContractError("not-signed", f"{error}.", hint="More of its holders must sign it.") from error
