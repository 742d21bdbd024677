"""Two TUF repositories that can be made wrong in any way: real keys, real metadata, by python-tuf's own classes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from typing import Any

import msgspec
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Key,
    Metadata,
    MetaFile,
    Role,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from edgelift_contract.assignment import Assignment, dump_assignment
from edgelift_contract.codec import digest
from edgelift_contract.signed import ASSIGNMENT, Genuine, Signed, pack_signed, target_path

TOP = ("root", "targets", "snapshot", "timestamp")


def new_key() -> CryptoSigner:
    return CryptoSigner.generate_ed25519()


def public(signer: CryptoSigner) -> Key:
    return signer.public_key


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), timezone.utc)


class Repo:
    """One repository.

    Attributes:
        signers: role → who signs it.
        roles: role → its metadata as it will be signed next.
        files: name → bytes as served: `timestamp.json`, `3.targets.json`.
    """

    def __init__(self, name: str, now: float, roles: Iterable[str] = TOP) -> None:
        self.name, self.now = name, now
        self.signers: dict[str, list[CryptoSigner]] = {role: [new_key()] for role in roles}
        expires = moment(now + 365 * 86400)
        self.roles: dict[str, Metadata[Any]] = {
            "root": Metadata(Root(expires=expires, consistent_snapshot=True)),
            "targets": Metadata(Targets(expires=expires)),
            "snapshot": Metadata(Snapshot(expires=moment(now + 7 * 86400))),
            "timestamp": Metadata(Timestamp(expires=moment(now + 7 * 86400))),
        }
        for role in TOP:
            self.root.add_key(public(self.signers[role][0]), role)
        self.files: dict[str, bytes] = {}
        #: What to do to a role's bytes before they are served.
        self.spoil: dict[str, Callable[[bytes], bytes]] = {}

    @property
    def root(self) -> Root:
        found: Root = self.roles["root"].signed
        return found

    @property
    def targets(self) -> Targets:
        found: Targets = self.roles["targets"].signed
        return found

    def signed(self, role: str) -> Any:
        return self.roles[role].signed

    def sign(self, role: str, *, bump: bool = False) -> bytes:
        """Sign a role as it stands and serve it."""
        metadata = self.roles[role]
        if bump:
            metadata.signed.version += 1
        metadata.signatures.clear()
        for signer in self.signers[role]:
            metadata.sign(signer, append=True)
        data = metadata.to_bytes(JSONSerializer())
        if role in self.spoil:
            data = self.spoil[role](data)
        name = f"{role}.json" if role == "timestamp" else f"{metadata.signed.version}.{role}.json"
        if role != "root":
            self.files = {
                file: old for file, old in self.files.items() if file.split(".", 1)[-1] != f"{role}.json"
            }
        self.files[name] = data
        return data

    def publish(self, *, root: bool = False) -> None:
        """Sign everything, as the next version but for a root that is not to change."""
        if root or not any(name.endswith("root.json") for name in self.files):
            self.sign("root", bump=root)
        first = "timestamp.json" not in self.files
        meta = self.signed("snapshot").meta
        for role in self.roles:
            if role not in ("root", "snapshot", "timestamp"):
                self.sign(role, bump=not first)
                meta[f"{role}.json"] = MetaFile(self.signed(role).version)
        self.sign("snapshot", bump=not first)
        self.signed("timestamp").snapshot_meta = MetaFile(self.signed("snapshot").version)
        self.sign("timestamp", bump=not first)

    def delegate(self, parent: str, name: str, paths: list[str], *, terminating: bool = True) -> None:
        """Have `parent` delegate paths to a role that is made by this."""
        self.signers[name] = [new_key()]
        self.roles[name] = Metadata(Targets(expires=moment(self.now + 365 * 86400)))
        targets: Targets = self.signed(parent)
        if targets.delegations is None:
            targets.delegations = Delegations({}, {})
        assert targets.delegations.roles is not None
        targets.delegations.roles[name] = DelegatedRole(name, [], 1, terminating, paths=paths)
        targets.add_key(public(self.signers[name][0]), name)

    def rotate(self, role: str, keys: list[CryptoSigner], *, threshold: int = 1) -> None:
        """Give a top-level role other keys; the next root says so, signed by the old root keys as well."""
        for keyid in list(self.root.roles[role].keyids):
            self.root.revoke_key(keyid, role)
        for key in keys:
            self.root.add_key(public(key), role)
        self.root.roles[role] = Role(list(self.root.roles[role].keyids), threshold)
        if role == "root":
            self.signers["root"] = [*self.signers["root"], *keys]
        else:
            self.signers[role] = keys


def target(path: str, data: bytes, custom: dict[str, Any] | None = None) -> TargetFile:
    made = TargetFile.from_data(path, data, ["sha256"])
    if custom is not None:
        made.unrecognized_fields["custom"] = custom
    return made


class Signer:
    """Both repositories of a site, and what they say to one device."""

    def __init__(self, device: str, *, now: float | None = None) -> None:
        self.device, self.now = device, time.time() if now is None else now
        self.image, self.director = Repo("image", self.now), Repo("director", self.now)
        self.image.delegate("targets", "builder", ["a/*/*/*/*"])
        self.nonce = ""
        self.director_files: dict[str, bytes] = {}

    def roots(self) -> dict[str, bytes]:
        return {"image": self.image.sign("root"), "director": self.director.sign("root")}

    def list_artifact(self, manifest: bytes, said: Genuine, **beside: Any) -> str:
        """Have the builder list an artifact as genuine, and say that beside; its path."""
        path = target_path(digest(manifest), said)
        self.image.signed("builder").targets[path] = target(path, manifest, msgspec.to_builtins(said) | beside)
        return path

    def direct(self, assignment: Assignment, artifacts: Iterable[tuple[bytes, Genuine]]) -> None:
        """Have the director say what the device is to run."""
        data = dump_assignment(assignment)
        found = {ASSIGNMENT: target(ASSIGNMENT, data)}
        for manifest, said in artifacts:
            path = target_path(digest(manifest), said)
            found[path] = target(path, manifest, msgspec.to_builtins(said))
        self.director.targets.targets = found
        self.director_files = {ASSIGNMENT: data}

    def publish(self, *, root: bool = False) -> None:
        self.image.publish(root=root)
        for role in ("targets", "snapshot", "timestamp"):
            self.director.signed(role).unrecognized_fields["device_id"] = self.device
        told = {"nonce": self.nonce, "issued_at": int(self.now)}
        self.director.signed("timestamp").unrecognized_fields |= told
        self.director.publish(root=root)

    def files(self) -> dict[str, bytes]:
        """What is served now, by name."""
        found = {
            f"{repo.name}/{name}": data
            for repo in (self.image, self.director)
            for name, data in repo.files.items()
        }
        return found | {f"director/{name}": data for name, data in self.director_files.items()}

    def bundle(self, files: dict[str, bytes] | None = None) -> bytes:
        chosen = self.files() if files is None else files
        texts = {name: data.decode() for name, data in chosen.items()}
        return pack_signed(Signed(schema=Signed.SCHEMA, device=self.device, files=texts))
