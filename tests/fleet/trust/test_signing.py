"""What the control plane signs is what a device takes: both repositories and their keys, by the device's own verifier."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from tests.fleet.trust.worlds import NOW, Clock, listed

from edgelift_agent.ports import Committed
from edgelift_agent.system.disk import Disk
from edgelift_agent.trust.trusted import TrustedFile, first
from edgelift_agent.trust.verifier import Verifier
from edgelift_contract.assignment import Assignment, SlotAssignment, dump_assignment
from edgelift_contract.errors import EdgeliftError
from edgelift_contract.report import DeviceFacts
from edgelift_contract.signed import Signed, Told, pack_signed
from edgelift_fleet.trust.director import Director, first_root
from edgelift_fleet.trust.image import Holders, Image, Listed, snapshot, timestamp
from edgelift_fleet.trust.key_files import create_key_file, new_private, read_key_file, signer_of, unseal


class Site:
    """All keys of one site, and what is signed."""

    def __init__(self, *, signers: int = 1, threshold: int = 1) -> None:
        self.root, self.online = [signer_of(new_private()) for _ in range(signers)], signer_of(new_private())
        self.builders = [signer_of(new_private()) for _ in range(signers)]
        root = Holders(tuple(one.public_key for one in self.root), threshold)
        builders = Holders(tuple(one.public_key for one in self.builders), threshold)
        self.image = Image.begin(root, builders, self.online.public_key, NOW)
        self.director_root = first_root(root, self.online.public_key, NOW)
        for one in self.root:
            self.director_root.sign(one, append=True)
        self.director, self.version = Director(self.online), 0
        self.stored: dict[str, bytes] = {}
        self.sign(self.root)
        self.sign(self.builders)

    def sign(self, signers: list) -> None:
        self.image.sign(signers)
        if not self.image.lacking():
            self.stored |= self.image.files()
            self.image.changed.clear()

    def roots(self) -> dict[str, bytes]:
        return {"director": self.director_root.to_bytes(), "image": self.stored["root"]}

    def bundle(self, nonce: str, artifacts: list[Listed], *, device: str = "pi-1") -> bytes:
        self.version += 1
        slots = {
            one.said.model: SlotAssignment(one.artifact, one.manifest_bytes, one.said.model, one.said.version)
            for one in artifacts
        }
        assignment = dump_assignment(Assignment(schema=1, device=device, revision=self.version, slots=slots))
        told = Told(device_id=device, issued_at=int(NOW), nonce=nonce)
        files = {
            f"director/{name}": data
            for name, data in self.director.sign(told, assignment, artifacts, version=self.version).items()
        }
        versions = {name: metadata.signed.version for name, metadata in self.image.roles.items() if name != "root"}
        files |= {f"image/{versions[name]}.{name}.json": self.stored[name] for name in versions}
        files[f"image/{self.version}.snapshot.json"] = snapshot(versions, self.version, NOW, self.online)
        files["image/timestamp.json"] = timestamp(self.version, self.version, NOW, self.online)
        texts = {name: data.decode() for name, data in files.items()}
        return pack_signed(Signed(schema=1, device=device, files=texts))


def verifier_of(site: Site, tmp_path: Path) -> Verifier:
    file = TrustedFile(tmp_path / "trust.json", Disk())
    file.write(first({name: data.decode() for name, data in site.roots().items()}))
    facts = DeviceFacts(hardware_class="arm64-neon", accepts=["arm64-neon"])
    return Verifier(file, Clock(), "pi-1", lambda: facts, Committed)


@pytest.mark.parametrize("preset", [(1, 1), (3, 2)])
def test_a_release_that_was_signed_is_taken(tmp_path: Path, preset: tuple[int, int]) -> None:
    site = Site(signers=preset[0], threshold=preset[1])
    verifier = verifier_of(site, tmp_path)
    for number in range(1, 40):
        site.image.list_release([listed(number), listed(number, "faces")], NOW)
        site.sign(site.builders[: preset[1]])
        opened = verifier.open(site.bundle(verifier.nonce, [listed(number), listed(number, "faces")]))
        both = [listed(number, model) for model in ("digits", "faces")]
        assert {artifact: found.said for artifact, found in opened.signed.items()} == {
            one.artifact: one.said for one in both
        }
    opened = verifier.open(site.bundle(verifier.nonce, [listed(3)]))
    assert json.loads(opened.assignment)["slots"]["digits"]["version"] == "3"


def test_too_few_signers_list_nothing(tmp_path: Path) -> None:
    site = Site(signers=3, threshold=2)
    verifier = verifier_of(site, tmp_path)
    site.image.list_release([listed(1)], NOW)
    site.image.sign(site.builders[:1])
    assert set(site.image.lacking().values()) == {1} and "model.digits" in site.image.lacking()
    site.stored |= site.image.files()
    with pytest.raises(EdgeliftError) as caught:
        verifier.open(site.bundle(verifier.nonce, [listed(1)]))
    assert caught.value.code == "not-signed"
    site.image.sign(site.builders[2:])
    assert site.image.lacking() == {}
    site.stored |= site.image.files()
    verifier.open(site.bundle(verifier.nonce, [listed(1)]))


def test_what_is_listed_no_more_is_not_genuine(tmp_path: Path) -> None:
    site = Site()
    verifier = verifier_of(site, tmp_path)
    site.image.list_release([listed(1), listed(2)], NOW)
    site.sign(site.builders)
    verifier.open(site.bundle(verifier.nonce, [listed(1)]))
    site.image.unlist("digits", [listed(1).artifact], NOW)
    site.sign(site.builders)
    with pytest.raises(EdgeliftError) as caught:
        verifier.open(site.bundle(verifier.nonce, [listed(1)]))
    assert caught.value.code == "not-genuine"
    verifier.open(site.bundle(verifier.nonce, [listed(2)]))


def test_listing_what_is_listed_signs_nothing() -> None:
    site = Site()
    site.image.list_release([listed(1)], NOW)
    site.sign(site.builders)
    loaded = Image.load(site.stored)
    loaded.list_release([listed(1)], NOW + 86400)
    assert not loaded.changed
    loaded.list_release([listed(2)], NOW + 86400)
    assert len(loaded.changed) == 1  # one bin of eight, and neither model nor builder


def test_metadata_that_cant_be_read_is_told() -> None:
    with pytest.raises(EdgeliftError) as caught:
        Image.load({"root": b"[" * 100_000})
    assert caught.value.code == "malformed"


def test_a_key_comes_back_by_its_passphrase_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "builder.key"
    made = create_key_file(path, "builder", "correct horse battery").public_key
    assert path.stat().st_mode & 0o777 == 0o600 and b"correct" not in path.read_bytes()
    read = read_key_file(path)
    assert read.key == made and unseal(read, "correct horse battery").public_key == made
    create_key_file(tmp_path / "other.key", "builder", "another passphrase")
    other = read_key_file(tmp_path / "other.key")
    for wrong, passphrase in (
        (read, "correct horse"), (msgspec.structs.replace(read, name="root"), "correct horse battery"),
        (msgspec.structs.replace(read, public=other.public), "correct horse battery"),
        (msgspec.structs.replace(read, sealed=other.sealed), "correct horse battery"),
        (msgspec.structs.replace(read, nonce="00"), "correct horse battery"),
    ):  # fmt: skip
        with pytest.raises(EdgeliftError) as caught:
            unseal(wrong, passphrase)
        assert caught.value.code == "not-authorised"


def test_odd_key_files_are_told_apart(tmp_path: Path) -> None:
    def code(path: Path) -> str:
        with pytest.raises(EdgeliftError) as caught:
            read_key_file(path)
        return caught.value.code

    path = tmp_path / "x.key"
    assert code(path) == "not-found"
    create_key_file(path, "x", "long enough")
    with pytest.raises(EdgeliftError) as caught:
        create_key_file(path, "x", "long enough")
    assert caught.value.code == "conflict"
    with pytest.raises(EdgeliftError) as caught:
        create_key_file(tmp_path / "y.key", "y", "short")
    assert caught.value.code == "malformed" and not (tmp_path / "y.key").exists()
    path.chmod(0o640)
    assert code(path) == "bad-config"
    path.chmod(0o600)
    text = path.read_text()
    for wrong, expected in (
        ("", "malformed"), ("{", "malformed"), (text.replace('"n":131072', '"n":1'), "malformed"),
        (text.replace('"n":131072', f'"n":{2**40}'), "malformed"), (" " * 20_000, "too-large"),
        (text.replace('"schema":1', '"schema":2'), "unknown-schema"),
    ):  # fmt: skip
        path.write_text(wrong)
        assert code(path) == expected
