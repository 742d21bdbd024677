"""The image repository: what is genuine, and for which hardware. Its words are signed by keys that are kept offline.

    root       the root keys; names all others
    targets    the root keys; lists nothing, and delegates `a/*/*/*/*` to
    builder    the builders' keys; delegates each model's paths to
    model.M    the same keys; delegates by the digest of the path to eight
    bin.M-h    the same keys; list the artifacts
    snapshot, timestamp   the control plane's key: what belongs together, and that it is of late

A device reads only the bins of what it is assigned, so that a model's history of hundreds of releases costs it some
kilobytes; a bin for each release would stay in the snapshot for ever, as nothing may ever be left out of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
from securesystemslib.exceptions import StorageError
from securesystemslib.signer import CryptoSigner, Key
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from edgelift_contract.errors import ContractError
from edgelift_contract.signed import Genuine, Listing, target_path

#: How long each role holds, days. Root and targets: the next time that somebody must come with the key.
DAYS = {"root": 365, "targets": 365, "builder": 365, "snapshot": 7, "timestamp": 7}
#: Two to this many bins a model.
BITS = 3
_COMPACT = JSONSerializer(compact=True)


@dataclass(frozen=True)
class Listed:
    """One artifact, as it is to be listed: its id, the length of its manifest in bytes, and what is said of it."""

    artifact: str
    manifest_bytes: int
    said: Genuine


@dataclass(frozen=True)
class Holders:
    """Who may sign: public keys, and how many of them are needed."""

    keys: tuple[Key, ...]
    threshold: int = 1


def expires(now: float, days: float) -> datetime:
    """`days` from now, to the second, as metadata has it."""
    return datetime.fromtimestamp(int(now), timezone.utc) + timedelta(days=days)


def goes_back(target: TargetFile) -> bool:
    """May devices go back to it though they have run a higher release counter? As the repository lists it."""
    custom = target.custom
    return (
        isinstance(custom, dict) and custom.get("allow_older") is True
    )  # whoever signs is shown it before it is judged


class Image:
    """The repository's metadata, to be changed and signed.

    Attributes:
        roles: name → metadata, the newest of each.
        changed: those that are to be signed.
        before: the root that stood before a new one, whose holders must sign that too.
    """

    def __init__(self, roles: dict[str, Metadata[Any]]) -> None:
        self.roles, self.changed = roles, set[str]()
        self.before: Root | None = None

    @classmethod
    def begin(cls, root: Holders, builder: Holders, online: Key, now: float) -> Image:
        """An empty repository."""
        made = cls({"root": Metadata(Root(expires=expires(now, DAYS["root"]), consistent_snapshot=True))})
        top: Root = made.roles["root"].signed
        for role, holders in (
            ("root", root), ("targets", root), ("snapshot", Holders((online,))), ("timestamp", Holders((online,))),
        ):  # fmt: skip
            for key in holders.keys:
                top.add_key(key, role)
            top.roles[role].threshold = holders.threshold
        targets = Targets(expires=expires(now, DAYS["targets"]))
        targets.delegations = _delegations("builder", builder, ["a/*/*/*/*"])
        made.roles["targets"] = Metadata(targets)
        made.roles["builder"] = Metadata(Targets(expires=expires(now, DAYS["builder"])))
        made.changed = {"root", "targets", "builder"}
        return made

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Image:
        """Read role → bytes.

        Raises:
            ContractError: `malformed`.
        """
        roles: dict[str, Metadata[Any]] = {}
        for name, data in files.items():
            try:
                roles[name] = Metadata.from_bytes(data)
            except (RepositoryError, StorageError, RecursionError) as error:
                raise ContractError("malformed", f"The signed {name} can't be read: {error}.") from error
        return cls(roles)

    def builders(self) -> Holders:
        """Who may list artifacts."""
        delegations: Delegations = self.roles["targets"].signed.delegations
        assert delegations.roles is not None
        role = delegations.roles["builder"]
        return Holders(tuple(delegations.keys[keyid] for keyid in role.keyids), role.threshold)

    def delegate(self, builders: Holders, now: float) -> None:
        """Let these list artifacts, and nobody else: whatever is listed is signed anew, as it is."""
        self.touch("targets", now)
        self.roles["targets"].signed.delegations = _delegations("builder", builders, ["a/*/*/*/*"])
        for name, metadata in self.roles.items():
            if name == "builder" or name.startswith(("model.", "bin.")):
                self.touch(name, now)
            if name == "builder" and metadata.signed.delegations:
                models = [one.removeprefix("model.") for one in metadata.signed.delegations.roles]
                metadata.signed.delegations = None
                for model in models:
                    self._delegate_model(model, builders)
            elif name.startswith("model."):
                metadata.signed.delegations = _bins_of(name.removeprefix("model."), builders)

    def list_release(self, artifacts: Iterable[Listed], now: float) -> None:
        """List artifacts as genuine; what stands there already stays as it is."""
        for one in artifacts:
            self._list(one, now)

    def _list(self, one: Listed, now: float) -> None:
        model = one.said.model
        if f"model.{model}" not in self.roles:
            self._begin_model(model, now)
        path = target_path(one.artifact, one.said)
        name = self._bins(model).get_role_for_target(path)
        found = TargetFile(one.manifest_bytes, {"sha256": one.artifact}, path)
        listed: Targets = self.roles[name].signed
        beside = Listing(allow_older=path in listed.targets and goes_back(listed.targets[path]))
        found.unrecognized_fields["custom"] = msgspec.to_builtins(one.said) | msgspec.to_builtins(beside)
        if listed.targets.get(path) != found:
            listed.targets[path] = found
            self.touch(name, now)

    def unlist(self, model: str, artifacts: Iterable[str], now: float) -> None:
        """List these artifacts of a model no more."""
        gone = set(artifacts)
        for name in self._bins(model).get_roles() if f"model.{model}" in self.roles else ():
            listed: Targets = self.roles[name].signed
            for path in [path for path in listed.targets if path.rpartition("/")[2] in gone]:
                del listed.targets[path]
                self.touch(name, now)

    def allow_older(self, model: str, version: str, now: float, *, allowed: bool = True) -> None:
        """Let devices go back to a release though they have run a higher release counter; or no more.

        Its artifacts are those that are signed as its: whoever could name others would choose what is signed.

        Raises:
            ContractError: `not-genuine` when none is listed.
        """
        found = False
        for name in self._bins(model).get_roles() if f"model.{model}" in self.roles else ():
            listed: Targets = self.roles[name].signed
            for target in listed.targets.values():
                said = msgspec.convert(target.custom, Genuine)
                if said.version != version:
                    continue
                found = True
                if goes_back(target) != allowed:
                    beside = msgspec.to_builtins(Listing(allow_older=allowed))
                    target.unrecognized_fields["custom"] = msgspec.to_builtins(said) | beside
                    self.touch(name, now)
        if not found:
            raise ContractError(
                "not-genuine", f"The image repository lists nothing of {model}@{version}.",
                hint="Publish it again, which lists it.",
            )  # fmt: skip

    def _begin_model(self, model: str, now: float) -> None:
        holders = self.builders()
        self._delegate_model(model, holders)
        self.touch("builder", now)
        inner = Targets(expires=expires(now, DAYS["builder"]))
        inner.delegations = _bins_of(model, holders)
        self._add(f"model.{model}", inner)
        for name in self._bins(model).get_roles():
            self._add(name, Targets(expires=expires(now, DAYS["builder"])))

    def _delegate_model(self, model: str, holders: Holders) -> None:
        parent: Targets = self.roles["builder"].signed
        made = _delegations(f"model.{model}", holders, [f"a/*/*/{model}/*"])
        if parent.delegations is None:
            parent.delegations = made
        else:
            assert parent.delegations.roles is not None and made.roles is not None
            parent.delegations.roles |= made.roles
            parent.delegations.keys |= made.keys

    def bin_of(self, one: Listed) -> str:
        """The role that lists an artifact of a model that is there."""
        return self._bins(one.said.model).get_role_for_target(target_path(one.artifact, one.said))

    @staticmethod
    def bin_role(model: str, path: str) -> str:
        """The role that is to list a path of a model."""
        return SuccinctRoles(["-"], 1, BITS, f"bin.{model}").get_role_for_target(path)

    @staticmethod
    def bin_names(model: str) -> list[str]:
        """The roles that list the artifacts of a model, where there is such a model."""
        return list(SuccinctRoles(["-"], 1, BITS, f"bin.{model}").get_roles())

    def bins(self, role: str) -> list[str]:
        """The names of the bins of `model.M`."""
        return list(self._bins(role.removeprefix("model.")).get_roles())

    def _bins(self, model: str) -> SuccinctRoles:
        found = self.roles[f"model.{model}"].signed.delegations.succinct_roles
        assert isinstance(found, SuccinctRoles)
        return found

    def _add(self, name: str, targets: Targets) -> None:
        self.roles[name] = Metadata(targets)
        self.changed.add(name)

    def touch(self, name: str, now: float) -> None:
        """The role is to be signed anew: as its next version, and for as long as it holds from now on."""
        if name not in self.changed:
            signed = self.roles[name].signed
            if name == "root":
                self.before = deepcopy(signed)
            self.roles[name].signatures.clear()
            signed.version += 1
            signed.expires = expires(now, DAYS.get(name, DAYS["builder"]))
            self.changed.add(name)

    def sign(self, signers: Iterable[CryptoSigner]) -> None:
        """Sign what changed, each role by those of these keys that may."""
        for name in self.changed:
            metadata, may = self.roles[name], {key.keyid for one in self.signing(name) for key in one.keys}
            for signer in signers:
                if signer.public_key.keyid in may:
                    metadata.sign(signer, append=True)

    def lacking(self) -> dict[str, int]:
        """Role → how many signatures it lacks, for those that changed."""
        found = {name: self._lacks(name) for name in sorted(self.changed)}
        return {name: count for name, count in found.items() if count}

    def _lacks(self, name: str) -> int:
        have = self.roles[name].signatures
        return max(
            one.threshold - sum(key.keyid in have for key in one.keys)
            for one in (*self.signing(name), Holders((), 0))
        )

    def signing(self, name: str) -> list[Holders]:
        """Who must sign a role, each of them enough: of a new root, those of the one before too."""
        before = [_held(self.before, name)] if name == "root" and self.before else []
        return [*before, self._holders(name)]

    def held(self, name: str) -> Holders:
        """Who signs a role that the root names."""
        return _held(self.roles["root"].signed, name)

    def _holders(self, name: str) -> Holders:
        return self.held(name) if name in ("root", "targets") else self.builders()

    def files(self, names: Iterable[str] | None = None) -> dict[str, bytes]:
        """Role → its signed bytes, of those that changed or of `names`."""
        return {name: self.roles[name].to_bytes(_COMPACT) for name in (self.changed if names is None else names)}


def _held(root: Root, name: str) -> Holders:
    role = root.roles[name]
    return Holders(tuple(root.keys[keyid] for keyid in role.keyids), role.threshold)


def snapshot(
    versions: Mapping[str, int], version: int, now: float, signer: CryptoSigner, *, days: float = DAYS["snapshot"]
) -> bytes:
    """A snapshot of these roles, signed by the online key; at least `targets` is among them."""
    meta = {f"{name}.json": MetaFile(number) for name, number in versions.items()}
    return _signed(Snapshot(version, expires=expires(now, days), meta=meta), signer)


def timestamp(
    of_snapshot: int, version: int, now: float, signer: CryptoSigner, *, days: float = DAYS["timestamp"]
) -> bytes:
    """A timestamp that names a snapshot's version, signed by the online key."""
    made = Timestamp(version, expires=expires(now, days), snapshot_meta=MetaFile(of_snapshot))
    return _signed(made, signer)


def _signed(made: Snapshot | Timestamp, signer: CryptoSigner) -> bytes:
    metadata: Metadata[Any] = Metadata(made)
    metadata.sign(signer)
    return metadata.to_bytes(_COMPACT)


def _delegations(name: str, holders: Holders, paths: list[str]) -> Delegations:
    """To one role, and to nobody after it."""
    role = DelegatedRole(
        name, [key.keyid for key in holders.keys], holders.threshold, terminating=True, paths=paths
    )
    return Delegations({key.keyid: key for key in holders.keys}, {name: role})


def _bins_of(model: str, holders: Holders) -> Delegations:
    keyids = [key.keyid for key in holders.keys]
    bins = SuccinctRoles(keyids, holders.threshold, BITS, f"bin.{model}")
    return Delegations({key.keyid: key for key in holders.keys}, succinct_roles=bins)
