"""A site's metadata and all its keys in memory, changed as the control plane changes it, and a device that follows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from edgelift_agent.ports import Committed
from edgelift_agent.system.disk import Disk
from edgelift_agent.trust.trusted import TrustedFile, first
from edgelift_agent.trust.verifier import Verifier
from edgelift_contract import codec
from edgelift_contract.assignment import Assignment, SlotAssignment, dump_assignment
from edgelift_contract.report import DeviceFacts
from edgelift_contract.signed import Genuine, Signed, Told, pack_signed
from edgelift_fleet.trust.admission import admitted, admitted_director, check_both
from edgelift_fleet.trust.change import Change
from edgelift_fleet.trust.director import Director, first_root
from edgelift_fleet.trust.image import Holders, Image, Listed, snapshot, timestamp
from edgelift_fleet.trust.key_files import create_key_file, new_private, signer_of
from edgelift_fleet.trust.store import Stored

NOW = 1_800_000_000.0
PASSPHRASE = "correct horse battery staple"


def key() -> CryptoSigner:
    return signer_of(new_private())


def cheap_key(path: Path, name: str) -> CryptoSigner:
    """A key's file that is opened at once: what it lies under protects nothing."""
    return create_key_file(path, name, PASSPHRASE, cost=2)


def listed(number: int, model: str = "digits") -> Listed:
    said = Genuine(
        hardware_class="arm64-neon",
        runtime="onnxruntime",
        model=model,
        version=str(number),
        release_counter=number,
    )
    return Listed(codec.digest(f"{model}{number}".encode()), 1000 + number, said)


class Clock:
    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return NOW


@dataclass
class World:
    """One signing site.

    Attributes:
        root, builder, online: its keys.
        image, director: what is stored, role → version and bytes.
    """

    root: list[CryptoSigner]
    builder: list[CryptoSigner]
    online: CryptoSigner
    image: dict[str, Stored] = field(default_factory=dict)
    roots: dict[int, bytes] = field(default_factory=dict)
    image_roots: dict[int, bytes] = field(default_factory=dict)
    version: int = 0

    @classmethod
    def make(cls, holders: int = 1, threshold: int = 1) -> World:
        made = cls([key() for _ in range(holders)], [key() for _ in range(holders)], key())
        groups = [Holders(tuple(one.public_key for one in ones), threshold) for ones in (made.root, made.builder)]
        image = Image.begin(groups[0], groups[1], made.online.public_key, NOW)
        image.list_release([listed(1), listed(2), listed(1, "faces")], NOW)
        image.sign([*made.root, *made.builder])
        made.image = {role: Stored(1, data) for role, data in image.files().items()}
        top = first_root(groups[0], made.online.public_key, NOW)
        for one in made.root:
            top.sign(one, append=True)
        made.roots, made.image_roots = {1: top.to_bytes()}, {1: made.image["root"].body}
        return made

    @property
    def director(self) -> dict[str, Stored]:
        version = max(self.roots)
        return {"root": Stored(version, self.roots[version])}

    def change(self) -> Change:
        return Change.of({role: one.body for role, one in self.image.items()}, self.director["root"].body)

    def take(self, change: Change, signers: list[CryptoSigner]) -> None:
        """As the control plane does, once these have signed."""
        change.sign(signers)
        self.bring(change.image.files(), change.director.files())

    def bring(self, files: dict[str, bytes], director: dict[str, bytes]) -> None:
        taken = admitted(self.image, files, NOW)
        top = admitted_director(self.director, director["root"], NOW) if director else {}
        check_both({**self.image, **taken}, {**self.director, **top})
        self.image |= taken
        self.roots |= {one.version: one.body for one in top.values()}
        self.image_roots[self.image["root"].version] = self.image["root"].body

    def verifier(self, path: Path) -> Verifier:
        file = TrustedFile(path / "trust.json", Disk())
        file.write(
            first({"director": self.roots[max(self.roots)].decode(), "image": self.image["root"].body.decode()})
        )
        facts = DeviceFacts(hardware_class="arm64-neon", accepts=["arm64-neon"])
        return Verifier(file, Clock(), "pi-1", lambda: facts, Committed)

    def hand(self, nonce: str, artifacts: list[Listed], issued_at: int = int(NOW)) -> bytes:
        """What a device is given."""
        self.version += 1
        slots = {
            one.said.model: SlotAssignment(one.artifact, one.manifest_bytes, one.said.model, one.said.version)
            for one in artifacts
        }
        assignment = dump_assignment(Assignment(schema=1, device="pi-1", revision=self.version, slots=slots))
        told = Told(device_id="pi-1", issued_at=issued_at, nonce=nonce)
        signed = Director(self.online).sign(told, assignment, artifacts, version=self.version)
        files = {f"director/{name}": data for name, data in signed.items()}
        files |= {f"director/{version}.root.json": data for version, data in self.roots.items()}
        files |= {f"image/{version}.root.json": data for version, data in self.image_roots.items()}
        files |= {
            f"image/{one.version}.{role}.json": one.body for role, one in self.image.items() if role != "root"
        }
        versions = {role: one.version for role, one in self.image.items() if role != "root"}
        files[f"image/{self.version}.snapshot.json"] = snapshot(versions, self.version, NOW, self.online)
        files["image/timestamp.json"] = timestamp(self.version, self.version, NOW, self.online)
        texts = {name: data.decode() for name, data in files.items()}
        return pack_signed(Signed(schema=1, device="pi-1", files=texts))
