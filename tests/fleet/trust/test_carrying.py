"""What is signed to be carried, and how it is written to a stick; what a board makes of it is test_usb.py's."""

import contextlib
import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.fleet.trust.sites import listed_of, sign

from edgelift.stick import Stick
from edgelift_agent.artifact.carried import CarriedFolder, Carrying
from edgelift_agent.artifact.store import Store
from edgelift_agent.system.disk import Disk
from edgelift_agent.testing.artifact import toy_artifact
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract import codec
from edgelift_contract.assignment import Assignment, SlotAssignment, dump_assignment
from edgelift_contract.carried import BLOBS, blob_name
from edgelift_contract.errors import ContractError, DeviceError
from edgelift_contract.signed import IMAGE, unpack_signed
from edgelift_fleet.blobs import Blobs
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.remote_blobs import open_blobs
from edgelift_fleet.site import load_site
from edgelift_fleet.trust.handing import Handing
from edgelift_fleet.trust.image import Listed
from edgelift_fleet.trust.online import freshen, online_signer
from edgelift_fleet.trust.store import newest

pytestmark = pytest.mark.fleet

DAY_S = 86400.0


@pytest.fixture
def handing(site: Path, releases: dict[str, Path]) -> Iterator[tuple[Handing, Database, list[Listed]]]:
    opened = load_site(site)
    sign(opened, releases.values())
    blobs: Blobs = open_blobs(opened)
    with contextlib.closing(Database(opened.database)) as db:
        yield Handing(db, blobs, partial(online_signer, opened)), db, listed_of(releases["digits@1"])


def assignment(one: Listed, artifact: str = "") -> bytes:
    slot = SlotAssignment(artifact or one.artifact, one.manifest_bytes, "digits", "1")
    return dump_assignment(Assignment(schema=1, device="pi-1", revision=1, slots={"digits": slot}))


def test_all_of_it_holds_for_as_long_as_was_asked(handing: tuple[Handing, Database, list[Listed]]) -> None:
    hands, db, (one, *_) = handing
    before = unpack_signed(hands.hand("pi-1", assignment(one), "ab" * 16), device="pi-1")
    for days in (1, 30):
        began = time.time()
        carried = hands.carry("pi-1", assignment(one), days=days)
        assert began - 2 <= carried.expires_at - days * DAY_S <= time.time() + 2
        assert '"nonce":"ab' not in "".join(unpack_signed(carried.signed, device="pi-1").files.values())
    # What stands, and what is handed next, is newer than what was carried, and does not hold so long.
    with db.read() as session:
        standing = newest(session, IMAGE)
    with_it = unpack_signed(carried.signed, device="pi-1").files
    after = unpack_signed(hands.hand("pi-1", assignment(one), "ab" * 16), device="pi-1").files
    for files in (with_it, after):
        assert f'"version":{standing["timestamp"].version}' not in with_it["image/timestamp.json"]
        assert files["director/timestamp.json"] != before.files["director/timestamp.json"]
    assert after["image/timestamp.json"] == standing["timestamp"].body.decode() != with_it["image/timestamp.json"]


def test_what_no_release_has_is_not_signed(handing: tuple[Handing, Database, list[Listed]]) -> None:
    hands, _, (one, *_) = handing
    with pytest.raises(ContractError) as caught:
        hands.carry("pi-1", assignment(one, "ab" * 32), days=1)
    assert caught.value.code == "not-genuine"


def test_a_full_stick_says_so_and_what_is_whole_stays(tmp_path: Path) -> None:
    stick = Stick(tmp_path / "stick")
    data = b"whole"
    stick.put_blob(codec.digest(data), len(data), [data], lambda _: None)
    with pytest.raises(DeviceError, match="more are needed") as caught:
        stick.check_space(1 << 60)
    assert caught.value.code == "disk-full"

    def cut() -> Iterator[bytes]:
        yield b"half"
        raise OSError(28, "No space left on device")

    with pytest.raises(DeviceError, match="is full") as caught:
        stick.put_blob(codec.digest(b"other"), 5, cut(), lambda _: None)
    assert caught.value.code == "disk-full"
    with pytest.raises(ContractError) as wrong:
        stick.put_blob(codec.digest(b"other"), 5, [b"wrong"], lambda _: None)
    assert wrong.value.code == "digest-mismatch"
    assert [path.name for path in (tmp_path / "stick" / BLOBS).iterdir()] == [codec.digest(data)]


def test_what_is_there_and_right_is_not_fetched_again(tmp_path: Path) -> None:
    stick, data = Stick(tmp_path), b"whole"
    sha = codec.digest(data)
    assert not stick.has_blob(sha, len(data))
    stick.put_blob(sha, len(data), [data], lambda _: None)
    assert stick.has_blob(sha, len(data))
    (tmp_path / blob_name(sha)).write_bytes(b"whule")
    assert not stick.has_blob(sha, len(data))
    (tmp_path / blob_name(sha)).unlink()
    (tmp_path / "elsewhere").write_bytes(data)
    (tmp_path / blob_name(sha)).symlink_to(tmp_path / "elsewhere")
    assert not stick.has_blob(sha, len(data))
    (tmp_path / "other").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "edgelift").symlink_to(tmp_path / "other")
    with pytest.raises(ContractError) as caught:
        Stick(tmp_path / "linked")
    assert caught.value.code == "bad-path"


def test_a_slow_download_of_the_same_file_is_not_waited_for(tmp_path: Path) -> None:
    slot, blobs = toy_artifact("1", ToyModelFile(), padding=1000)
    stick, store = Stick(tmp_path / "stick"), Store(tmp_path / "store", Disk())
    store.make_folders()
    for sha, data in blobs.items():
        stick.put_blob(sha, len(data), [data], lambda _: None)
    for sha in blobs:
        assert store.claim(sha).acquire(timeout=1)  # as who downloads it
    with Carrying(CarriedFolder(tmp_path / "stick"), store, reserve_bytes=0) as carrying:
        manifest = carrying.bring(slot.artifact, slot.manifest_bytes)
        store.collect(set())  # an update of another slot ends just now
        assert not store.missing(manifest)
    assert carrying.copied_bytes == sum(len(data) for data in blobs.values())
    store.collect(set())
    assert store.missing(manifest)


def test_a_clock_that_was_far_ahead_once_locks_nobody_out(
    site: Path, handing: tuple[Handing, Database, list[Listed]]
) -> None:
    hands, db, (one, *_) = handing
    find, ahead = partial(online_signer, load_site(site)), 12 * 365 * DAY_S
    Handing(db, open_blobs(load_site(site)), find, lambda: time.time() + ahead).hand(
        "pi-1", assignment(one), "ab" * 16
    )
    files = unpack_signed(hands.hand("pi-1", assignment(one), "ab" * 16), device="pi-1").files
    told = json.loads(files["director/timestamp.json"])["signed"]
    assert abs(told["issued_at"] - time.time()) < 120
    assert told["version"] > (time.time() + ahead - DAY_S) * 1000


def test_what_was_refused_is_signed_anew_once_something_was_signed(
    handing: tuple[Handing, Database, list[Listed]], site: Path
) -> None:
    hands, db, (one, *_) = handing
    first = hands.hand("pi-1", assignment(one), "ab" * 16)
    assert hands.hand("pi-1", assignment(one), "ab" * 16) == first
    with db.write(SITE) as session:
        freshen(session, online_signer(load_site(site)))
    hands.changed()
    assert hands.hand("pi-1", assignment(one), "ab" * 16) != first
