"""What the control plane takes into the image repository: what the right keys signed, and nothing that only looks so.

It can't sign any of this itself, and devices judge it once more. It is judged here so that whoever publishes learns of a
mistake at once, and no device has to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, SuccinctRoles, Targets
from tuf.api.serialization.json import CanonicalJSONSerializer

from edgelift_contract.errors import ContractError
from edgelift_fleet.trust.image import Image
from edgelift_fleet.trust.store import Stored

#: Most that one role may have, bytes: devices take no more (`LIMITS` of the agent's `repository`).
MAX_ROLE_BYTES = {"root": 512_000}
_MAX_TARGETS_BYTES = 5_000_000


def admitted(stored: Mapping[str, Stored], given: Mapping[str, bytes]) -> dict[str, Stored]:
    """The roles to be stored, once all of them held.

    Args:
        stored: role → what is trusted now.
        given: role → its new metadata: `root`, `targets`, `builder`, `model.M`, `bin.M-h`.

    Raises:
        ContractError: `not-signed`, `changed-meanwhile` when it does not follow what is stored, `malformed`, `too-large`,
            `metadata-wrong`.
    """
    for role, data in given.items():
        if len(data) > MAX_ROLE_BYTES.get(role, _MAX_TARGETS_BYTES):
            raise ContractError("too-large", f"The signed {role} has {len(data)} bytes.")
    trusted = Image.load({role: one.body for role, one in stored.items() if role not in ("snapshot", "timestamp")})
    new = Image.load(given)
    for role in sorted(new.roles, key=_order):
        _follows(role, new.roles[role], stored.get(role))
        _verify(role, new.roles[role], trusted.roles)
        trusted.roles[role] = new.roles[role]
    for role in trusted.roles:  # what stands must hold under new keys too
        if role not in new.roles and _parent(role) in new.roles:
            _verify(role, trusted.roles[role], trusted.roles)
    return {role: Stored(metadata.signed.version, given[role]) for role, metadata in new.roles.items()}


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


def _verify(role: str, metadata: Metadata[Any], trusted: Mapping[str, Metadata[Any]]) -> None:
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
    _delegates_rightly(role, metadata)


def _delegates_rightly(role: str, metadata: Metadata[Any]) -> None:
    """Each role delegates to what is below it, and lists nothing unless it is a bin: no role can be reached two ways."""
    if role == "root":
        return
    signed: Targets = metadata.signed
    delegations = signed.delegations
    names = set(delegations.roles or {}) if delegations else set()
    bins = delegations.succinct_roles if delegations else None
    right = {
        "targets": names == {"builder"} and bins is None,
        "builder": all(name.startswith("model.") for name in names) and bins is None,
        "model": not names
        and isinstance(bins, SuccinctRoles)
        and bins.name_prefix == role.replace("model", "bin", 1),
        "bin": delegations is None,
    }[role.partition(".")[0]]
    if right and role == "builder" and delegations and delegations.roles:
        right = all(
            one.paths == [f"a/*/*/{name.removeprefix('model.')}/*"] and one.terminating
            for name, one in delegations.roles.items()
        )
    if not right or (signed.targets and not role.startswith("bin.")):
        raise ContractError("metadata-wrong", f"The role {role} does not delegate as it should.")
