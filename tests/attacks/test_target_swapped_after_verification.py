"""What was verified is changed before it is used: a manifest, a file, the words in a manifest."""

from pathlib import Path

import msgspec
import pytest
from tests.attacks.board import DEVICE, SAID

from edgelift_agent.artifact.carried import CarriedFolder, Carrying
from edgelift_agent.artifact.store import Store
from edgelift_agent.system.disk import Disk
from edgelift_agent.testing.artifact import toy_artifact
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract.carried import blob_name
from edgelift_contract.errors import ContractError, EdgeliftError
from edgelift_contract.manifest import parse_manifest
from edgelift_contract.signed import Vouched, genuine, same_as_signed


class Stick:
    def __init__(self, folder: Path) -> None:
        self.folder = folder / "stick"
        self.slot, self.blobs = toy_artifact("1", ToyModelFile(), padding=5000)
        self.store = Store(folder / "store", Disk())
        self.store.make_folders()
        for sha256, data in self.blobs.items():
            self.put(sha256, data)

    def put(self, sha256: str, data: bytes) -> None:
        file = self.folder / blob_name(sha256)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def bring(self) -> None:
        with Carrying(CarriedFolder(self.folder), self.store, reserve_bytes=0) as carrying:
            carrying.bring(self.slot.artifact, self.slot.manifest_bytes)

    def refused(self) -> str:
        with pytest.raises(EdgeliftError) as caught:
            self.bring()
        return caught.value.code


@pytest.fixture
def stick(folder: Path) -> Stick:
    return Stick(folder)


def test_each_file_that_was_swapped_is_refused_and_the_right_one_taken(stick: Stick) -> None:
    for sha256, data in stick.blobs.items():
        stick.put(sha256, bytes(reversed(data)))
        assert stick.refused() == "digest-mismatch"
        stick.put(sha256, data + b" ")
        assert stick.refused() == "size-mismatch"
        stick.put(sha256, data)
        stick.bring()
        stick.store.collect([])


def test_what_is_in_the_store_is_held_against_its_digest_before_it_runs(stick: Stick) -> None:
    stick.bring()
    largest = max(stick.blobs, key=lambda sha256: len(stick.blobs[sha256]))
    stored = stick.store.blob(largest)
    stored.chmod(0o600)
    stored.write_bytes(bytes(len(stick.blobs[largest])))
    with pytest.raises(EdgeliftError):
        stick.store.verify(stick.slot.artifact)


@pytest.mark.parametrize(
    "lie",
    [{"release_counter": 99}, {"hardware_class": "jetson-ampere"}, {"model": "cats"}, {"version": "9"}],
    ids=str,
)
def test_a_manifest_that_says_other_than_was_signed_is_refused(stick: Stick, lie: dict[str, object]) -> None:
    manifest = parse_manifest(stick.blobs[stick.slot.artifact].rstrip())
    said = msgspec.structs.replace(genuine(manifest), **lie)
    with pytest.raises(ContractError) as caught:
        same_as_signed(
            manifest, stick.slot.manifest_bytes, Vouched(manifest_bytes=stick.slot.manifest_bytes, said=said)
        )
    assert caught.value.code == "not-agreed"
    assert (DEVICE, SAID.model) == ("pi-1", "digits")
