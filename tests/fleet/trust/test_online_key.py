"""The control plane's own key: whence it comes, how another takes its place, what it renews, after a restore too."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from securesystemslib.signer import CryptoSigner
from tests.fleet.conftest import edgelift
from tests.fleet.trust.worlds import NOW, World, key, listed

from edgelift_contract.assignment import Assignment, dump_assignment
from edgelift_contract.errors import DeviceError, EdgeliftError
from edgelift_contract.signed import is_signed, unpack_signed
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.remote_blobs import open_blobs
from edgelift_fleet.site import Site, create_site
from edgelift_fleet.tables import DeviceRow
from edgelift_fleet.trust.counting import Counting
from edgelift_fleet.trust.handing import Handing
from edgelift_fleet.trust.key_files import new_private, signer_of
from edgelift_fleet.trust.online import (
    NEXT,
    SECRET,
    VARIABLE,
    create_online_key,
    freshen,
    online_signer,
    prepare_online_key,
    renew,
    settle_online_key,
)
from edgelift_fleet.trust.sealing import Sealing
from edgelift_fleet.trust.store import newest, put
from edgelift_fleet.trust.watching import Watching

pytestmark = pytest.mark.fleet

DAY_S = 86400.0


@pytest.fixture
def made(tmp_path: Path) -> Site:
    site, _ = create_site(tmp_path / "site")
    create_online_key(site)
    return site


def code(what, *given) -> str:
    with pytest.raises(EdgeliftError) as caught:
        what(*given)
    return caught.value.code


def keyid(signer) -> str:
    return signer.public_key.keyid


def test_the_key_is_its_owners_alone_and_nothing_else_is_taken_for_one(made: Site) -> None:
    path = made.folder / "secrets" / SECRET
    assert path.stat().st_mode & 0o777 == 0o600
    first = keyid(online_signer(made))
    path.chmod(0o640)
    assert code(online_signer, made) == "bad-config"
    path.chmod(0o600)
    for wrong in ("zz", "00", "00" * 33, ""):
        path.write_text(wrong)
        assert code(online_signer, made) == "bad-config"
    path.unlink()
    assert code(online_signer, made) == "bad-config" == code(online_signer, made, [first])


def test_another_takes_its_place_once_the_roots_name_it_and_a_crash_between_loses_neither(made: Site) -> None:
    first = keyid(online_signer(made))
    second = keyid(prepare_online_key(made, [first]))
    assert second == keyid(prepare_online_key(made, [first])) != first  # asked again, it is the same
    assert (made.folder / "secrets" / NEXT).stat().st_mode & 0o777 == 0o600
    assert keyid(online_signer(made, [first])) == first
    assert keyid(online_signer(made, [second])) == second  # stored, and killed before it took the place
    settle_online_key(made, [first])
    assert keyid(online_signer(made, [first])) == first
    third = keyid(prepare_online_key(made, [second]))
    assert third not in (first, second) and keyid(online_signer(made, [second])) == second
    settle_online_key(made, [third])
    assert not (made.folder / "secrets" / NEXT).exists() and code(online_signer, made, [first]) == "bad-config"


def test_from_the_environment_two_stand_side_by_side(made: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = new_private(), new_private()
    ids = [keyid(signer_of(one)) for one in (old, new)]
    monkeypatch.setenv(VARIABLE, old.hex())
    assert keyid(online_signer(made)) == ids[0]
    assert code(prepare_online_key, made, ids[:1]) == "conflict" and not (made.folder / "secrets" / NEXT).exists()
    monkeypatch.setenv(VARIABLE, f"{old.hex()}, {new.hex()}")
    assert keyid(prepare_online_key(made, ids[:1])) == ids[1]
    assert [keyid(online_signer(made, [one])) for one in ids] == ids
    monkeypatch.setenv(VARIABLE, f"{old.hex()},x")
    assert code(online_signer, made) == "bad-config"
    with pytest.raises(EdgeliftError) as caught:
        online_signer(made)
    assert old.hex() not in str(caught.value)


@pytest.fixture
def signing(made: Site) -> Iterator[tuple[Database, World]]:
    world = World.make()
    with contextlib.closing(Database(made.database)) as db:
        db.migrate()
        with db.write(SITE) as session:
            put(session, "image", world.image)
            put(session, "director", world.director)
            freshen(session, world.online, now=NOW)
        yield db, world


def stored(db: Database, role: str) -> int:
    with db.read() as session:
        return newest(session, "image")[role].version


def test_a_server_that_nobody_asks_renews_what_it_signs_before_that_ends(
    signing: tuple[Database, World], caplog: pytest.LogCaptureFixture
) -> None:
    db, world = signing
    watching = Watching(db, lambda ids: world.online)
    versions = []
    for hour in range(10 * 24):
        watching.look(NOW + hour * 3600.0)
        versions.append(stored(db, "timestamp"))
    assert (
        versions[: 3 * 24] == versions[:1] * 3 * 24 and len(set(versions)) == 3
    )  # renewed when half of a week is over
    assert not watching.warnings and not caplog.records
    with caplog.at_level(logging.WARNING):
        for hour in range(340 * 24, 343 * 24):
            watching.look(NOW + hour * 3600.0)
    told = [one for one in caplog.records if "edgelift keys renew" in one.message]
    assert len(told) == 3 * 3 and len(watching.warnings) == 3  # once a day, and not once an hour


def test_a_server_without_its_key_says_so_and_goes_on(
    signing: tuple[Database, World], made: Site, caplog: pytest.LogCaptureFixture
) -> None:
    db, world = signing

    def find(ids) -> object:
        return online_signer(made, ids)  # another one is in the site's folder

    with caplog.at_level(logging.WARNING):
        Watching(db, find).look(NOW + 5 * DAY_S)  # type: ignore[arg-type]  # what a test needs of it
    assert "bad-config" in caplog.text and "keys rotate online" in caplog.text
    assert renew(db, lambda _: world.online, NOW + 5 * DAY_S) and not renew(
        db, lambda _: world.online, NOW + 5 * DAY_S
    )


def test_a_restored_site_is_ahead_of_what_its_devices_have_seen(
    signing: tuple[Database, World], made: Site, tmp_path: Path
) -> None:
    db, world = signing
    path = made.database
    assert isinstance(path, Path)
    Counting(db, lambda: NOW).next()
    db.close()
    shutil.copy(path, tmp_path / "kept")
    with contextlib.closing(Database(path)) as after:
        seen = Counting(after, lambda: NOW + 2 * DAY_S).next()
        for day in (4, 8, 12):
            assert renew(after, lambda _: world.online, NOW + day * DAY_S)
        image_seen = stored(after, "timestamp")
    with contextlib.closing(Database(tmp_path / "kept")) as restored:
        assert Counting(restored, lambda: NOW + 13 * DAY_S).next() > seen
        assert renew(restored, lambda _: world.online, NOW + 13 * DAY_S)
        assert stored(restored, "timestamp") > image_seen == stored(restored, "snapshot") - DAY_S


def test_after_a_restore_that_lost_signatures_another_online_key_lets_devices_go_on(tmp_path: Path) -> None:
    world = World.make()
    kept = dict(world.image)
    verifier = world.verifier(tmp_path)
    change = world.change()
    change.image.list_release([listed(number) for number in range(3, 40)], NOW)
    world.take(change, world.builder)
    verifier.open(world.hand(verifier.nonce, [listed(9)]))
    world.image = kept
    assert code(verifier.open, world.hand(verifier.nonce, [listed(1)])) == "metadata-older"
    new = key()
    change = world.change()
    change.replace("online", [keyid(world.online)], [new.public_key], NOW)
    world.take(change, world.root)
    world.online = new
    assert set(verifier.open(world.hand(verifier.nonce, [listed(1)])).signed) == {listed(1).artifact}


def test_a_control_plane_without_its_key_says_so_until_it_is_back(signing: tuple[Database, World]) -> None:
    db, world = signing
    held: list[CryptoSigner] = []

    def find(keyids: object) -> CryptoSigner:
        if not held:
            raise DeviceError("bad-config", "There is no key.", hint="Put it back.")
        return held[0]

    watching = Watching(db, find)
    watching.look(NOW)
    assert watching.warnings == ["Devices are told nothing new: There is no key. Put it back."]
    held.append(world.online)
    watching.look(NOW + 1)
    assert not watching.warnings


def test_a_backup_has_what_is_signed_and_no_key(tmp_path: Path) -> None:
    site = tmp_path / "site"
    assert edgelift("init", site).returncode == 0
    keys = [path.read_text().strip() for path in (site / "keys").iterdir()]
    secret = (site / "secrets" / SECRET).read_text().strip()
    assert edgelift("backup", tmp_path / "b.tar", "--site", site).returncode == 0
    data = (tmp_path / "b.tar").read_bytes()
    assert secret.encode() not in data and not any(one.encode() in data for one in keys)
    done = edgelift("restore", tmp_path / "b.tar", tmp_path / "again")
    assert done.returncode == 0, done
    env = {"EDGELIFT_KEYS": str(site / "keys")}
    roles = json.loads(edgelift("keys", "list", "--json", "--site", tmp_path / "again").stdout)["roles"]
    assert [one["role"] for one in roles] == ["root", "targets", "builder", "online"]
    assert edgelift("keys", "rotate", "online", "--site", tmp_path / "again", env=env).returncode == 0
    assert (tmp_path / "again" / "secrets" / SECRET).read_text().strip() not in (secret, "")


def test_what_a_broker_retains_is_signed_anew_once_a_root_is_new(
    signing: tuple[Database, World], made: Site
) -> None:
    db, world = signing
    with db.write(SITE) as session:
        session.add(DeviceRow(id="pi-1", enrolled_at=NOW, facts="{}", nonce="ab" * 16))
    handing = Handing(db, open_blobs(made), lambda _: world.online)
    sealing = Sealing(db, lambda: handing)
    retained = world.hand("ab" * 16, [listed(1)], issued_at=int(time.time()))
    files = unpack_signed(retained, device="pi-1").files
    body = {"pi-1": files["director/assignment.json"].encode()}
    assert sealing.standing(body, {"pi-1": retained}) == {"pi-1"}
    new, change = key(), world.change()
    change.replace("online", [keyid(world.online)], [new.public_key], NOW)
    world.take(change, world.root)
    with db.write(SITE) as session:
        put(session, "image", {"root": world.image["root"]})
        put(session, "director", world.director)
    assert sealing.standing(body, {"pi-1": retained}) == set()


def test_what_is_known_of_many_devices_is_one_question(signing: tuple[Database, World], made: Site) -> None:
    db, world = signing
    names = [f"pi-{number}" for number in range(1, 5)]
    with db.write(SITE) as session:
        for name in names:
            nonce = "" if name == "pi-4" else "ab" * 16  # an agent that asks for no signature
            session.add(DeviceRow(id=name, enrolled_at=NOW, facts="{}", nonce=nonce))
    handing = Handing(db, open_blobs(made), lambda _: world.online)
    bodies = {name: dump_assignment(Assignment(schema=1, device=name, revision=1, slots={})) for name in names}
    asked: list[str] = []
    sa.event.listen(db.engine, "before_cursor_execute", lambda _c, _cur, text, *_: asked.append(text))
    seal = Sealing(db, lambda: handing).sealing(names)
    sealed = {name: seal(name, body) for name, body in bodies.items()}
    assert sum("device.nonce" in text for text in asked) == 1
    assert [name for name in names if is_signed(sealed[name])] == names[:3] and sealed["pi-4"] == bodies["pi-4"]


def test_what_can_not_be_signed_now_is_published_as_a_bell(tmp_path: Path, made: Site) -> None:
    (tmp_path / "fleet.db").write_bytes(b"no database " * 1000)
    with contextlib.closing(Database(tmp_path / "fleet.db")) as db:
        handing = Handing(db, open_blobs(made), lambda _: key())
        assert Sealing(db, lambda: handing).sealing(["pi-1"])("pi-1", b"{}") == b"{}"
