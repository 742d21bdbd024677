"""What each role may say, beside being signed: no role can be reached two ways, and no path is outside its prefix."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
from tuf.api.metadata import DelegatedRole, Metadata, Root, SuccinctRoles, TargetFile, Targets

from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import MAX_MANIFEST_BYTES
from edgelift_contract.signed import Genuine, Listing, target_path
from edgelift_fleet.trust.change import ONLINE
from edgelift_fleet.trust.image import BITS, DAYS, Holders, Image

#: How much longer than we would say it a role may hold, days: whoever signed it may have had another clock.
_SLACK_DAYS = 30
_Custom, _Beside = msgspec.json.Decoder(Genuine), msgspec.json.Decoder(Listing)


def check_targets(signed: Targets) -> None:
    """It says who lists releases. Raises ContractError `metadata-wrong`."""
    delegations = signed.delegations
    roles = (delegations.roles if delegations else None) or {}
    if (
        delegations is None
        or list(roles) != ["builder"]
        or not set(roles["builder"].keyids) <= delegations.keys.keys()
    ):
        raise ContractError("metadata-wrong", "The role targets does not delegate as it should.")


def check_role(role: str, metadata: Metadata[Any], builders: Holders, now: float) -> None:
    """One role of the image repository.

    Raises:
        ContractError: `metadata-wrong`.
    """
    _expires_rightly(role, metadata, now)
    if role == "root":
        return
    signed: Targets = metadata.signed
    kind, _, name = role.partition(".")
    right = {"targets": _targets, "builder": _builder, "model": _model, "bin": _bin}[kind](signed, name, builders)
    if not right or (signed.targets and kind != "bin"):
        raise ContractError("metadata-wrong", f"The role {role} does not delegate as it should.")
    if kind == "bin":
        for path, target in signed.targets.items():
            if not _listed_rightly(role, path, target):
                raise ContractError(
                    "metadata-wrong", f"The role {role} lists {path[:200]!r}, which is none of its own."
                )


def check_roots(image: Root, director: Root) -> None:
    """Both repositories: the same hold the root, and one key is the control plane's in all its roles.

    Raises:
        ContractError: `metadata-wrong`.
    """
    held = {(frozenset(one.roles["root"].keyids), one.roles["root"].threshold) for one in (image, director)}
    held |= {(frozenset(image.roles["targets"].keyids), image.roles["targets"].threshold)}
    online = {
        (*one.roles[role].keyids, one.roles[role].threshold)
        for name, one in (("image", image), ("director", director))
        for role in ONLINE[name]
    }
    if len(held) != 1 or len(online) != 1 or len(next(iter(online))) != 2:
        raise ContractError("metadata-wrong", "The roots of both repositories do not name the same keys.")
    (ids, _), (own, *_) = next(iter(held)), next(iter(online))
    if own in ids or not (image.consistent_snapshot and director.consistent_snapshot):
        raise ContractError("metadata-wrong", "A root gives the control plane's key a part that it may not have.")


def _expires_rightly(role: str, metadata: Metadata[Any], now: float) -> None:
    until, most = metadata.signed.expires, DAYS.get(role, DAYS["builder"]) + _SLACK_DAYS
    here = datetime.fromtimestamp(now, timezone.utc)
    if not here < until < here + timedelta(days=most):
        raise ContractError(
            "metadata-wrong", f"The role {role} is to hold until {until:%Y-%m-%d}: not in the next {most} days.",
            hint="Look at the clock of the machine that made it, and make it again.",
        )  # fmt: skip


def _targets(signed: Targets, _: str, builders: Holders) -> bool:
    roles = signed.delegations.roles if signed.delegations else None
    return bool(roles) and _is((roles or {})["builder"], "a/*/*/*/*", builders)


def _builder(signed: Targets, _: str, builders: Holders) -> bool:
    if signed.delegations is None:
        return True
    roles: Mapping[str, DelegatedRole] = signed.delegations.roles or {}
    return signed.delegations.succinct_roles is None and all(
        name.startswith("model.") and _is(one, f"a/*/*/{name.removeprefix('model.')}/*", builders)
        for name, one in roles.items()
    )


def _is(role: DelegatedRole, path: str, builders: Holders) -> bool:
    return role.paths == [path] and bool(role.terminating) and _held(role.keyids, role.threshold, builders)


def _held(keyids: list[str], threshold: int, builders: Holders) -> bool:
    """Nobody else's: whoever is taken from the builders has no part that a role below gave him."""
    return set(keyids) == {key.keyid for key in builders.keys} and threshold == builders.threshold


def _model(signed: Targets, model: str, builders: Holders) -> bool:
    bins = signed.delegations.succinct_roles if signed.delegations else None
    return (
        isinstance(bins, SuccinctRoles)
        and bins.name_prefix == f"bin.{model}"
        and bins.bit_length == BITS
        and _held(bins.keyids, bins.threshold, builders)
    )


def _bin(signed: Targets, _: str, __: Holders) -> bool:
    return signed.delegations is None


def _listed_rightly(role: str, path: str, target: TargetFile) -> bool:
    artifact = path.rpartition("/")[2]
    try:
        custom = msgspec.json.encode(target.unrecognized_fields.get("custom"))
        said, _ = _Custom.decode(custom), _Beside.decode(custom)
    except msgspec.MsgspecError:
        return False
    return (
        path == target_path(artifact, said)
        and target.hashes == {"sha256": artifact}
        and 0 < target.length <= MAX_MANIFEST_BYTES
        and role == Image.bin_role(said.model, path)
    )
