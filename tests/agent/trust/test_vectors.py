"""The cases of Uptane's test vectors, made anew with real keys, by the same verification over three ways of the bytes.

After each refusal the honest repository is tried again: what was refused must have left nothing behind.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.agent.trust.ways import NOW, PATH, Way
from tests.simulators.file_server import FileServer
from tests.simulators.signer import Repo, moment, new_key, public, target
from tuf.api.metadata import MetaFile

from edgelift_contract.errors import EdgeliftError

ROLES = ("root", "targets", "snapshot", "timestamp")


@pytest.fixture(scope="module")
def server() -> Iterator[FileServer]:
    with FileServer() as server:
        yield server


@pytest.fixture(params=["http", "bundle", "folder"])
def way(request: pytest.FixtureRequest, server: FileServer, tmp_path: Path) -> Way:
    return Way(request.param, server, tmp_path)


def made() -> Repo:
    repo = Repo("image", NOW)
    repo.delegate("targets", "builder", ["a/*/*/*/*"])
    repo.signed("builder").targets[PATH] = target(PATH, b"manifest")
    repo.publish()
    return repo


def expired(repo: Repo, role: str) -> None:
    repo.signed(role).expires = moment(NOW - 1)
    repo.publish(root=role == "root")


def under_threshold(repo: Repo, role: str) -> None:
    repo.rotate(role, [new_key(), new_key()], threshold=2)
    repo.signers[role] = repo.signers[role][:-1]
    repo.publish(root=True)


def zero_threshold(repo: Repo, role: str) -> None:
    def spoil(data: bytes) -> bytes:
        root = json.loads(data)
        root["signed"]["roles"][role]["threshold"] = 0
        return json.dumps(root).encode()

    repo.spoil["root"] = spoil
    repo.publish(root=True)


def one_key_twice(repo: Repo, role: str) -> None:
    """One signature, given twice: it counts once."""
    repo.rotate(role, [new_key(), new_key()], threshold=2)

    def spoil(data: bytes) -> bytes:
        metadata = json.loads(data)
        metadata["signatures"] = [metadata["signatures"][0]] * 2
        return json.dumps(metadata).encode()

    repo.spoil[role] = spoil
    repo.publish(root=True)


def unsigned(repo: Repo, role: str) -> None:
    def spoil(data: bytes) -> bytes:
        return json.dumps({**json.loads(data), "signatures": []}).encode()

    repo.spoil[role] = spoil
    repo.publish(root=role == "root")


def other_key_id(repo: Repo, role: str) -> None:
    """A good signature under the name of another key."""

    def spoil(data: bytes) -> bytes:
        metadata = json.loads(data)
        for one in metadata["signatures"]:
            one["keyid"] = "0" * 64
        return json.dumps(metadata).encode()

    repo.spoil[role] = spoil
    repo.publish(root=role == "root")


def altered(repo: Repo, role: str) -> None:
    def spoil(data: bytes) -> bytes:
        metadata = json.loads(data)
        metadata["signed"]["x-added"] = 1
        return json.dumps(metadata).encode()

    repo.spoil[role] = spoil
    repo.publish(root=role == "root")


def other_type(repo: Repo, role: str) -> None:
    other = "snapshot" if role != "snapshot" else "targets"

    def spoil(data: bytes) -> bytes:
        metadata = json.loads(data)
        metadata["signed"]["_type"] = other
        return json.dumps(metadata).encode()

    repo.spoil[role] = spoil
    repo.publish(root=role == "root")


def no_json(repo: Repo, role: str) -> None:
    repo.spoil[role] = lambda data: b"[" * 200_000 if role == "targets" else data[:-9]
    repo.publish(root=role == "root")


def endless(repo: Repo, role: str) -> None:
    repo.spoil[role] = lambda data: data + b" " * 6_000_000
    repo.publish(root=role == "root")


def older(repo: Repo, role: str) -> None:
    repo.publish()
    repo.signed(role).version -= 2
    repo.sign(role)
    if role == "targets":
        repo.signed("snapshot").meta["targets.json"] = MetaFile(1)
        repo.sign("snapshot", bump=True)
    if role != "timestamp":
        repo.signed("timestamp").snapshot_meta = MetaFile(repo.signed("snapshot").version)
        repo.sign("timestamp", bump=True)


EACH: dict[str, tuple[Callable[[Repo, str], None], dict[str, str]]] = {
    "expired": (expired, dict.fromkeys((*ROLES, "builder"), "metadata-expired")),
    "under its threshold": (under_threshold, dict.fromkeys(ROLES, "not-signed")),
    "a threshold of none": (zero_threshold, dict.fromkeys(ROLES, "metadata-wrong")),
    "one signature twice": (one_key_twice, dict.fromkeys(ROLES, "metadata-wrong")),
    "unsigned": (unsigned, dict.fromkeys((*ROLES, "builder"), "not-signed")),
    "signed under another key's name": (other_key_id, dict.fromkeys((*ROLES, "builder"), "not-signed")),
    "altered": (altered, dict.fromkeys((*ROLES, "builder"), "not-signed")),
    "of another type": (other_type, dict.fromkeys((*ROLES, "builder"), "metadata-wrong")),
    "no JSON": (no_json, dict.fromkeys((*ROLES, "builder"), "metadata-wrong")),
    "endless": (endless, dict.fromkeys((*ROLES, "builder"), "too-large")),
    "older": (older, dict.fromkeys(("targets", "snapshot", "timestamp"), "metadata-older")),
}  # fmt: skip


@pytest.mark.parametrize(("case", "role"), [(case, role) for case, (_, codes) in EACH.items() for role in codes])
def test_each_role(way: Way, case: str, role: str) -> None:
    change, codes = EACH[case]
    repo = made()
    if case == "older":
        repo.publish()
    way.begin(repo)
    honest = copy.deepcopy(repo)
    change(repo, role)
    assert refused(way, repo) == codes[role]
    honest.publish()
    way.look(honest)


def refused(way: Way, repo: Repo) -> str:
    with pytest.raises(EdgeliftError) as caught:
        way.look(repo)
    return caught.value.code


def rotated(repo: Repo) -> None:
    repo.rotate("root", [new_key()])
    repo.publish(root=True)


def rotated_often(repo: Repo) -> None:
    for _ in range(3):
        rotated(repo)


def all_rotated(repo: Repo) -> None:
    for role in ("targets", "snapshot", "timestamp"):
        repo.rotate(role, [new_key()])
    rotated(repo)


@pytest.mark.parametrize("change", [rotated, rotated_often, all_rotated])
def test_roots_follow_one_another(way: Way, change: Callable[[Repo], None]) -> None:
    repo = made()
    way.begin(repo)
    change(repo)
    way.look(repo)
    repo.publish()
    way.look(repo)


def no_old_signature(repo: Repo) -> None:
    repo.rotate("root", [new_key()])
    repo.signers["root"] = repo.signers["root"][1:]
    repo.publish(root=True)


def no_new_signature(repo: Repo) -> None:
    repo.rotate("root", [new_key()])
    repo.signers["root"] = repo.signers["root"][:1]
    repo.publish(root=True)


def same_version(repo: Repo) -> None:
    data = repo.sign("root", bump=True)
    root = json.loads(data)
    root["signed"]["version"] = 1
    repo.files["2.root.json"] = json.dumps(root).encode()


def signed_as_first(repo: Repo) -> None:
    """The second root calls itself the first, and is signed well."""
    repo.sign("root")
    repo.files["2.root.json"] = repo.files["1.root.json"]


def skips_one(repo: Repo) -> None:
    repo.signed("root").version = 3
    repo.files["2.root.json"] = repo.sign("root")


def snapshot_says_less(repo: Repo) -> None:
    del repo.signed("snapshot").meta["builder.json"]
    repo.sign("snapshot", bump=True)
    repo.signed("timestamp").snapshot_meta = MetaFile(repo.signed("snapshot").version)
    repo.sign("timestamp", bump=True)


def snapshot_lies(repo: Repo) -> None:
    """It names a version that is not the one it points at."""
    repo.publish()
    version = repo.signed("targets").version
    repo.files[f"{version + 1}.targets.json"] = repo.files[f"{version}.targets.json"]
    repo.signed("snapshot").meta["targets.json"] = MetaFile(version + 1)
    repo.sign("snapshot", bump=True)
    repo.signed("timestamp").snapshot_meta = MetaFile(repo.signed("snapshot").version)
    repo.sign("timestamp", bump=True)


def other_snapshot(repo: Repo) -> None:
    """The timestamp names the snapshot's length and digest, and another one of its version is given."""
    data = repo.sign("snapshot", bump=True)
    repo.signed("timestamp").snapshot_meta = MetaFile.from_data(repo.signed("snapshot").version, data, ["sha256"])
    repo.sign("timestamp", bump=True)
    repo.signed("snapshot").expires = moment(NOW + 2 * 86400)
    repo.sign("snapshot")


def out_of_its_paths(repo: Repo) -> None:
    """A role beside the one whose paths these are: what it lists does not count."""
    repo.delegate("targets", "friend", ["b/*"])
    repo.signed("friend").targets[PATH] = target(PATH, b"another")
    repo.signed("builder").targets.clear()
    repo.publish()


def beyond_a_star(repo: Repo) -> None:
    del repo.signed("targets").delegations.roles["builder"]
    repo.delegate("targets", "builder", ["a/*"])
    repo.signed("builder").targets[PATH] = target(PATH, b"manifest")
    repo.signed("builder").version = 4
    repo.publish()


def key_missing(repo: Repo) -> None:
    delegations = repo.signed("targets").delegations
    delegations.keys.clear()
    repo.publish()


def too_few_builders(repo: Repo) -> None:
    delegations = repo.signed("targets").delegations
    repo.signed("targets").add_key(public(new_key()), "builder")
    delegations.roles["builder"].threshold = 2
    repo.publish()


def diamond(repo: Repo) -> None:
    """Two roles delegate to one of the same name by different keys: the first one's word may not count for the second."""
    role = repo.signed("targets").delegations.roles["builder"]
    role.terminating = False
    repo.delegate("targets", "other", ["a/*/*/*/*"], terminating=False)
    repo.signed("builder").targets.clear()
    theirs = new_key()
    for parent, key in (("builder", public(repo.signers["builder"][0])), ("other", public(theirs))):
        repo.delegate(parent, "shared", ["a/*/*/*/*"], terminating=False)
        delegations = repo.signed(parent).delegations
        delegations.roles["shared"].keyids = [key.keyid]
        delegations.keys = {key.keyid: key}
    repo.signers["shared"] = [theirs]
    repo.signed("shared").targets[PATH] = target(PATH, b"theirs")
    repo.publish()


REFUSED: dict[str, tuple[Callable[[Repo], None], str]] = {
    "a root that the old one did not sign": (no_old_signature, "not-signed"),
    "a root that the new one did not sign": (no_new_signature, "not-signed"),
    "a root of the same version": (same_version, "not-signed"),
    "the first root again": (signed_as_first, "metadata-older"),
    "a root that leaves one out": (skips_one, "metadata-older"),
    "a snapshot that forgets a role": (snapshot_says_less, "metadata-wrong"),
    "a snapshot that names another version": (snapshot_lies, "metadata-older"),
    "another snapshot than the timestamp names": (other_snapshot, "digest-mismatch"),
    "a delegation without its key": (key_missing, "not-signed"),
    "too few builders": (too_few_builders, "not-signed"),
    "a diamond": (diamond, "not-signed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_of_the_whole(way: Way, name: str) -> None:
    change, code = REFUSED[name]
    repo = made()
    way.begin(repo)
    honest = copy.deepcopy(repo)
    change(repo)
    assert refused(way, repo) == code
    honest.publish()
    way.look(honest)


@pytest.mark.parametrize("change", [out_of_its_paths, beyond_a_star])
def test_a_role_lists_nothing_beyond_its_paths(way: Way, change: Callable[[Repo], None]) -> None:
    repo = made()
    way.begin(repo)
    change(repo)
    assert way.look(repo).target(PATH) is None


def test_what_is_missing_is_asked_for_again(way: Way) -> None:
    for gone in ("timestamp.json", "1.snapshot.json", "1.targets.json", "1.builder.json"):
        repo = made()
        (way.trusted / "root.json").write_bytes(repo.files["1.root.json"])
        del repo.files[gone]
        assert refused(way, repo) == "unreachable"


def test_time_is_what_it_is_told(way: Way) -> None:
    """The shim on python-tuf's reference time still works: an expired root is refused at a time to come, and only then."""
    repo = made()
    way.begin(repo)
    way.look(repo, now=0.0)
    way.look(repo, now=NOW + 6 * 86400)
    with pytest.raises(EdgeliftError) as caught:
        way.look(repo, now=NOW + 8 * 86400)
    assert caught.value.code == "metadata-expired"
    with pytest.raises(EdgeliftError):
        way.look(repo, now=1e300)
