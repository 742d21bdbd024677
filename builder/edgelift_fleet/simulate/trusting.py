"""What a simulated board does about signed assignments: it asks with a nonce, takes what answers it, and then has another.

It unpacks what comes and holds it against its own id, its nonce, the version that it had last, and the digest of the
assignment that the director's targets name: as an agent on the wire. It looks at no signature: an agent needs some 15 ms of
a core for one assignment, so with 5,000 boards a measurement would be the simulator's own.
"""

from __future__ import annotations

import secrets
from typing import TypeVar

import msgspec

from edgelift_contract import codec
from edgelift_contract.errors import ContractError
from edgelift_contract.ids import Nonce
from edgelift_contract.signed import ASSIGNMENT, DIRECTOR, Roots, is_signed, unpack_signed

T = TypeVar("T", bound=msgspec.Struct)


class _Timestamp(msgspec.Struct):
    device_id: str
    version: int
    nonce: str = ""


class _Target(msgspec.Struct):
    length: int
    hashes: dict[str, str]


class _Targets(msgspec.Struct):
    device_id: str
    targets: dict[str, _Target]


class _OfTimestamp(msgspec.Struct):
    signed: _Timestamp


class _OfTargets(msgspec.Struct):
    signed: _Targets


class BoardTrust:
    """Of one board.

    Attributes:
        nonce: what is to be signed into the next assignment; empty while the board trusts nobody, as on a site that signs
            nothing.
    """

    def __init__(self) -> None:
        self.nonce: Nonce = ""
        self._nonce_before: Nonce = ""
        self._version = 0

    def learn(self, roots: Roots) -> None:
        """The enrolment said whom to trust; from then on nothing is taken that isn't signed."""
        if roots and not self.nonce:
            self.nonce = secrets.token_hex(16)

    def open(self, data: bytes, device: str) -> bytes:
        """The assignment in what came: signed for this board, or as it is where this board trusts nobody.

        Raises:
            ContractError: `not-signed`, `wrong-device`, `not-fresh`, `metadata-older`, `metadata-wrong`, `digest-mismatch`,
                and what `unpack_signed` raises.
        """
        if not self.nonce and not is_signed(data):
            return data
        if not self.nonce or not is_signed(data):
            raise ContractError("not-signed", "The assignment is not signed, or this board trusts nobody.")
        files = unpack_signed(data, device=device).files
        told = _decoded(files, "timestamp.json", _OfTimestamp).signed
        if told.device_id != device:
            raise ContractError("wrong-device", f"The timestamp is signed for {told.device_id[:80]!r}.")
        if told.nonce not in (self.nonce, self._nonce_before) or not told.nonce:
            raise ContractError("not-fresh", "The signed assignment does not answer what this board asked.")
        if told.version < self._version:
            raise ContractError("metadata-older", "The signed assignment is older than the one before.")
        targets = _decoded(files, f"{told.version}.targets.json", _OfTargets).signed
        assignment, target = files.get(f"{DIRECTOR}/{ASSIGNMENT}", "").encode(), targets.targets.get(ASSIGNMENT)
        if targets.device_id != device or target is None:
            raise ContractError(
                "metadata-wrong", "The director's targets are another device's, or name no assignment."
            )
        if len(assignment) != target.length or codec.digest(assignment) != target.hashes.get("sha256"):
            raise ContractError(
                "digest-mismatch", "The assignment is not the one that the director's targets name."
            )
        self._version = told.version
        if told.nonce == self.nonce:
            self._nonce_before, self.nonce = self.nonce, secrets.token_hex(16)
        return assignment


def _decoded(files: dict[str, str], name: str, kind: type[T]) -> T:
    data = files.get(f"{DIRECTOR}/{name}", "").encode()
    return codec.decode_json(data, kind, what=name, limit_bytes=len(data))
