"""A toy host that signs what it assigns to one device, truthfully or not."""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec

from edgelift_agent.testing.host import ToyHost
from edgelift_contract.assignment import Assignment, dump_assignment
from edgelift_contract.manifest import parse_manifest
from edgelift_contract.signed import Genuine, genuine
from tests.simulators.signer import Signer


class SigningSite:
    """Signs for `pi-1` from `begin` on.

    Attributes:
        signs: False to give assignments as they are.
        lie: what is said of an artifact instead of the truth, by both repositories.
        answers: how many answers were signed.
    """

    def __init__(self, host: ToyHost, device: str = "pi-1") -> None:
        self.host, self.device, self.signer = host, device, Signer(device)
        self.signs, self.answers = True, 0
        self.lie: Callable[[Genuine], Genuine] = lambda said: said
        self.nonce: Callable[[str], str] = lambda nonce: nonce
        self._lock, self._last = threading.Lock(), (b"", "", b"")

    def begin(self) -> SigningSite:
        roots = {name: data.decode() for name, data in self.signer.roots().items()}
        self.host.signing.roots = roots
        self.host.poll_body = self.body
        return self

    def body(self, assignment: Assignment) -> bytes:
        """As the control plane answers a poll: signed where the device asked for it."""
        nonce = self.host.signing.nonces.get(self.device, "")
        return self.sealed(assignment, nonce) if self.signs and nonce else dump_assignment(assignment)

    def sealed(self, assignment: Assignment, nonce: str) -> bytes:
        with self._lock:
            data = dump_assignment(assignment)
            if self._last[:2] != (data, nonce):
                self._last = (data, nonce, self._signed(assignment, nonce))
                self.answers += 1
            return self._last[2]

    def _signed(self, assignment: Assignment, nonce: str) -> bytes:
        listed = []
        for slot in assignment.slots.values():
            manifest = self.host.blobs[slot.artifact]
            said = self.lie(genuine(parse_manifest(manifest.rstrip())))
            self.signer.list_artifact(manifest, said)
            listed.append((manifest, said))
        self.signer.direct(assignment, listed)
        self.signer.nonce = self.nonce(nonce)
        self.signer.publish()
        return self.signer.bundle()


def lying(**words: object) -> Callable[[Genuine], Genuine]:
    """Both repositories say this of it, whatever its manifest says."""
    return lambda said: msgspec.structs.replace(said, **words)
