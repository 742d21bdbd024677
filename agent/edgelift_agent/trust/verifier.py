"""Opens what the control plane signed: an assignment comes out only when director and image repository both hold.

The way of the bytes doesn't matter: one message over HTTP or MQTT, a folder on a stick. What matters is the time at which
they are judged, for a board's clock may stand in 1970 or 2038. It is the director's own, where it answers this device's
nonce, for then it can't be old; else the later of the clock and what was signed last.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
from tuf.api.metadata import Targets

from edgelift_agent.ports import Committed
from edgelift_agent.system.clock import Clock
from edgelift_agent.trust.fetchers import LOCAL, BundleFetcher
from edgelift_agent.trust.judgement import judge
from edgelift_agent.trust.repository import Repository
from edgelift_agent.trust.trusted import Trusted, TrustedFile, folded, new_nonce, unfolded
from edgelift_contract import codec
from edgelift_contract.assignment import parse_assignment
from edgelift_contract.errors import ContractError
from edgelift_contract.report import DeviceFacts
from edgelift_contract.signed import ASSIGNMENT, DIRECTOR, IMAGE, Told, Vouched, unpack_signed

_TIMESTAMP = f"{DIRECTOR}/timestamp.json"


@dataclass(frozen=True)
class Verified:
    """An assignment that may be carried out.

    Attributes:
        assignment: its bytes, as the director signed their digest.
        signed: artifact → what both repositories say of it.
        fresh: it answers what this device asked last.
    """

    assignment: bytes
    signed: Mapping[str, Vouched]
    fresh: bool = False


class _Signed(msgspec.Struct):
    signed: Told


class _Role(msgspec.Struct):
    device_id: str = ""


class _OneRole(msgspec.Struct):
    signed: _Role


def check_roots(kept: Trusted) -> None:
    """Are the roots of both repositories roots at all, signed by as many as they themselves ask for?

    Raises:
        ContractError: `metadata-wrong`, `not-signed`. DeviceError: there is no room to look at them.
    """
    with unfolded(kept) as folder:
        for name in (DIRECTOR, IMAGE):
            Repository(name, folder / name, BundleFetcher({}), f"{LOCAL}{name}", root=None, now=0.0)


class Verifier:
    """Verifies what comes, for one device; safe to use from several threads."""

    def __init__(
        self, file: TrustedFile, clock: Clock, device: str, facts: Callable[[], DeviceFacts],
        committed: Callable[[], Committed],
    ) -> None:  # fmt: skip
        """Bind.

        Args:
            file: what is trusted; with roots.
            clock: of this device.
            device: its id.
            facts: the machine, as measured here.
            committed: what it committed to.
        """
        self._file, self._clock, self._device = file, clock, device
        self._facts, self._committed = facts, committed
        self._lock = threading.Lock()

    @property
    def nonce(self) -> str:
        """What the control plane is to sign into its next answer."""
        return self._trusted.nonce

    @property
    def _trusted(self) -> Trusted:
        assert self._file.content is not None
        return self._file.content

    def told_nonce(self, nonce: str) -> None:
        """The control plane has this nonce: what was signed for the one before can't be a late answer any more."""
        with self._lock:
            if self._trusted.nonce_before and nonce == self._trusted.nonce:
                self._file.content = msgspec.structs.replace(self._trusted, nonce_before="")

    def open(self, data: bytes, *, asked: bool = True) -> Verified:
        """Verify what came; what is trusted from now on is written when all of it held, and else left as it was.

        Args:
            data: as `pack_signed` made it.
            asked: it must answer this device's nonce; False for what was carried here, which nobody could ask for.

        Raises:
            ContractError: `not-fresh`, `metadata-expired`, `metadata-older`, `metadata-wrong`, `not-signed`,
                `digest-mismatch`, `too-large`, `malformed`, `unknown-schema`, `wrong-device`, or as `judge`.
            TransportError: `unreachable`: a file is missing in it. DeviceError: the disk's.
        """
        with self._lock:
            kept = self._trusted
            files = {name: text.encode() for name, text in unpack_signed(data, device=self._device).files.items()}
            told = self._told(files)
            now = self._time(kept, files, told, asked=asked)
            with unfolded(kept) as folder:
                assignment, signed, version = self._verified(folder, files, now)
                if asked and version == kept.floor_root and told.issued_at < kept.floor:
                    raise ContractError("metadata-older", "The director signed this earlier than what is trusted.")
                fresh = self._keep(kept, folder, told, version, asked=asked)
        return Verified(assignment, signed, fresh)

    def _told(self, files: Mapping[str, bytes]) -> Told:
        """What the director's timestamp says, before its signature was looked at; and that all its roles are ours.

        A neighbour's metadata is signed by the same keys, and is newer: python-tuf would keep its versions and refuse
        this device's own from then on.
        """
        for name, data in files.items():
            if name.startswith(f"{DIRECTOR}/") and not name.endswith(("root.json", ASSIGNMENT)):
                role = codec.decode_json(data, _OneRole, what=name, limit_bytes=len(data)).signed
                if role.device_id != self._device:
                    raise ContractError("wrong-device", f"{name} is signed for {role.device_id[:80]!r}.")
        data = files.get(_TIMESTAMP, b"")
        return codec.decode_json(data, _Signed, what=_TIMESTAMP, limit_bytes=len(data)).signed

    def _time(self, kept: Trusted, files: Mapping[str, bytes], told: Told, *, asked: bool) -> float:
        """The time at which to judge."""
        if files[_TIMESTAMP] == kept.files.get(_TIMESTAMP, "").encode():
            return kept.floor  # it was fresh when it came first: a broker hands it out at each connect
        if told.nonce and told.nonce in (kept.nonce, kept.nonce_before):
            return told.issued_at
        if asked:
            raise ContractError(
                "not-fresh",
                "The signed assignment does not answer what this device asked last: it may be an old one.",
                hint="It is asked for anew.",
            )
        return max(self._clock.now(), kept.floor)

    def _verified(
        self, folder: Path, files: Mapping[str, bytes], now: float
    ) -> tuple[bytes, Mapping[str, Vouched], int]:
        """The assignment, what was signed of its artifacts, and the version of the director's root."""
        director = self._repository(DIRECTOR, folder, files, now)
        director.refresh()
        said = director.targets()
        if said.delegations is not None:
            raise ContractError("metadata-wrong", "The director delegates to others.")
        assignment = self._assignment(said, files)
        image = self._repository(IMAGE, folder, files, now)
        image.refresh()
        targets = {path: found for path, found in said.targets.items() if path != ASSIGNMENT}
        signed = judge(
            parse_assignment(assignment, device=self._device), targets, image.target, facts=self._facts(),
            committed=self._committed(),
        )  # fmt: skip
        return assignment, signed, director.root_version

    def _repository(self, name: str, folder: Path, files: Mapping[str, bytes], now: float) -> Repository:
        return Repository(name, folder / name, BundleFetcher(files), f"{LOCAL}{name}", root=None, now=now)

    @staticmethod
    def _assignment(said: Targets, files: Mapping[str, bytes]) -> bytes:
        """The assignment's bytes, held against what the director signed of them."""
        target, data = said.targets.get(ASSIGNMENT), files.get(f"{DIRECTOR}/{ASSIGNMENT}")
        if target is None or data is None:
            raise ContractError("metadata-wrong", "The director's metadata has no assignment.")
        if len(data) != target.length or codec.digest(data) != target.hashes.get("sha256"):
            raise ContractError("digest-mismatch", "The assignment is not the one that the director signed.")
        return data

    def _keep(self, kept: Trusted, folder: Path, told: Told, version: int, *, asked: bool) -> bool:
        """Write what is trusted now, where it is anything new; was it an answer?"""
        files = folded(folder)
        if files == kept.files:
            return False
        # Who stole the director's key may have signed a time to come; with its new root that is over.
        before = kept.floor if version == kept.floor_root else 0.0
        answered = told.nonce == kept.nonce
        fresh = answered or (bool(told.nonce) and told.nonce == kept.nonce_before)
        # After what was carried here the nonce is another too: what a broker retains, or the control plane has at hand,
        # was signed before that, and has to be signed anew.
        spent = answered or not asked
        self._file.write(
            Trusted(
                files=files, floor=max(before, told.issued_at), floor_root=version,
                nonce=new_nonce() if spent else kept.nonce,
                nonce_before=kept.nonce if spent else kept.nonce_before,
                heard_at=self._clock.now() if fresh else kept.heard_at,
            )
        )  # fmt: skip
        return fresh
