"""The director: what one device is to run, signed by the control plane's own key when the device is given it.

Each device has a repository of its own, which is made anew for each assignment and kept nowhere. All of them share a root
and a counter: a version is never given twice, to no device, so that a neighbour's metadata can be mistaken for nobody's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from edgelift_contract import codec
from edgelift_contract.signed import ASSIGNMENT, Told, target_path
from edgelift_fleet.trust.image import Holders, Listed, expires

#: How long each role holds, days. The last three are signed for each assignment; they matter to what is carried.
DAYS = {"root": 365, "targets": 30, "snapshot": 30, "timestamp": 7}
_COMPACT = JSONSerializer(compact=True)


def first_root(root: Holders, online: Key, now: float) -> Metadata[Root]:
    """The director's root, which is to be signed."""
    made = Root(expires=expires(now, DAYS["root"]), consistent_snapshot=True)
    for key in root.keys:
        made.add_key(key, "root")
    made.roles["root"].threshold = root.threshold
    for role in ("targets", "snapshot", "timestamp"):
        made.add_key(online, role)
    return Metadata(made)


class Director:
    """Signs for devices, with one key. Safe to use from several threads."""

    def __init__(self, signer: CryptoSigner) -> None:
        self._signer = signer

    def sign(
        self, told: Told, assignment: bytes, artifacts: Iterable[Listed], *, version: int, days: float = DAYS["timestamp"]
    ) -> dict[str, bytes]:  # fmt: skip
        """What one device is given.

        Args:
            told: whom it is for, the time, and what the device asked to have signed.
            assignment: its canonical bytes.
            artifacts: those that it names, each once.
            version: of all three roles; above every one before.
            days: how long it holds.

        Returns:
            File name → bytes: three roles, and the assignment.
        """
        targets = {ASSIGNMENT: TargetFile(len(assignment), {"sha256": codec.digest(assignment)}, ASSIGNMENT)}
        for one in artifacts:
            path = target_path(one.artifact, one.said)
            targets[path] = TargetFile(
                one.manifest_bytes, {"sha256": one.artifact}, path, {"custom": msgspec.to_builtins(one.said)}
            )
        now, whose = told.issued_at, {"device_id": told.device_id}
        until = expires(now, max(days, DAYS["targets"]))
        return {
            f"{version}.targets.json": self._signed(
                Targets(version, expires=until, targets=targets, unrecognized_fields=whose)
            ),
            f"{version}.snapshot.json": self._signed(
                Snapshot(version, expires=until, meta={"targets.json": MetaFile(version)}, unrecognized_fields=whose)
            ),
            "timestamp.json": self._signed(
                Timestamp(
                    version, expires=expires(now, days), snapshot_meta=MetaFile(version),
                    unrecognized_fields=msgspec.to_builtins(told),
                )
            ),
            ASSIGNMENT: assignment,
        }  # fmt: skip

    def _signed(self, made: Any) -> bytes:
        metadata: Metadata[Any] = Metadata(made)
        metadata.sign(self._signer)
        return metadata.to_bytes(_COMPACT)
