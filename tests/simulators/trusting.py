"""A site that assigns several artifacts to a device, and the device's own verifier: no process, no link."""

from __future__ import annotations

from pathlib import Path

from edgelift_agent.ports import Committed
from edgelift_agent.system.clock import SystemClock
from edgelift_agent.system.disk import Disk
from edgelift_agent.trust.trusted import TrustedFile, first
from edgelift_agent.trust.verifier import Verifier
from edgelift_contract.assignment import Assignment, SlotAssignment
from edgelift_contract.codec import digest
from edgelift_contract.report import DeviceFacts
from edgelift_contract.signed import Genuine
from tests.simulators.signer import Signer

DEVICE = "pi-1"


class FourArtifacts:
    """Attributes: artifacts: manifest and what is said of it, of each slot."""

    def __init__(self, folder: Path, number: int) -> None:
        self.signer, self.revision = Signer(DEVICE), 0
        self.artifacts = [
            (
                f'{{"manifest": {n}}}'.encode(),
                Genuine(
                    hardware_class="arm64-neon", runtime="onnxruntime", model=f"model-{n}", version="1",
                    release_counter=7,
                ),
            )
            for n in range(number)
        ]  # fmt: skip
        for manifest, said in self.artifacts:
            self.signer.list_artifact(manifest, said)
        self.file = TrustedFile(folder / "trust.json", Disk())
        self.file.write(first({name: data.decode() for name, data in self.signer.roots().items()}))
        facts = DeviceFacts(hardware_class="arm64-neon", accepts=["arm64-neon"])
        self._verifier = Verifier(self.file, SystemClock(), DEVICE, lambda: facts, Committed)

    def signed(self) -> bytes:
        """Another revision, signed for what the device asked last: by both repositories' keys."""
        self.revision += 1
        slots = {
            said.model: SlotAssignment(digest(manifest), len(manifest), said.model, said.version)
            for manifest, said in self.artifacts
        }
        self.signer.direct(
            Assignment(schema=1, device=DEVICE, revision=self.revision, slots=slots), self.artifacts
        )
        self.signer.nonce = self._verifier.nonce
        self.signer.publish()
        return self.signer.bundle()

    def open(self, data: bytes) -> None:
        """As the device does."""
        assert len(self._verifier.open(data).signed) == len(self.artifacts)

    def save(self, folder: Path) -> None:
        """What a device trusts now, and a bundle that it has not seen: `trust.json`, `bundle`."""
        folder.mkdir()
        TrustedFile(folder / "trust.json", Disk()).write(self.file.content or first({}))
        (folder / "bundle").write_bytes(self.signed())
