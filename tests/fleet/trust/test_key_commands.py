"""`edgelift keys …` and `publish` on a signing site, as people use them: here, in several sittings, and carried."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from tests.fleet.conftest import Server, edgelift
from tests.fleet.releases import make_release
from tests.fleet.trust.worlds import PASSPHRASE, cheap_key, listed
from tests.simulators.device import Device

from edgelift.changing import Signing, begin_change, settle
from edgelift_contract.errors import EdgeliftError
from edgelift_contract.release import Release
from edgelift_fleet.client import Client
from edgelift_fleet.local import client_of
from edgelift_fleet.messages import AssignReply, AssignRequest, DeviceDetail, PublishReply
from edgelift_fleet.messages.trust import ImageRoles
from edgelift_fleet.release_folder import load_release
from edgelift_fleet.site import load_site
from edgelift_fleet.testing import wait_until
from edgelift_fleet.trust.carried import brought
from edgelift_fleet.trust.change import Change
from edgelift_fleet.trust.key_files import read_key_file, unseal

pytestmark = pytest.mark.fleet


class Keyed:
    """A site that signs; its keys are in a folder elsewhere."""

    def __init__(self, site: Path, keys: Path, names: tuple[str, ...], preset: str = "one-person") -> None:
        self.site, self.keys = site, keys
        for name in names:
            cheap_key(keys / f"{name}.key", name)
        self.begun = self.run("keys", "begin", "--signers", preset)
        assert self.begun.returncode == 0, self.begun

    def run(self, *words: object, keys: Path | None = None, at: object = ""):
        where = ("--server", at) if at else () if words[1] in ("sign", "create") else ("--site", self.site)
        env = {"EDGELIFT_KEYS": str(keys or self.keys), "EDGELIFT_SITE": str(self.site)}
        return edgelift(*words, *where, env=env)

    def ok(self, *words: object, **how: object) -> str:
        done = self.run(*words, **how)
        assert done.returncode == 0 and PASSPHRASE not in done.stdout + done.stderr, done
        return done.stdout + done.stderr

    def refused(self, code: str, *words: object, **how: object) -> str:
        done = self.run(*words, **how)
        assert done.returncode == 1 and f"({code})" in done.stderr, done
        return done.stderr

    def roles(self) -> dict:
        return {one["role"]: one for one in json.loads(self.run("keys", "list", "--json").stdout)["roles"]}

    def image(self) -> ImageRoles:
        with client_of(load_site(self.site)) as client:
            return client.get("/v1/trust/image", ImageRoles)

    def listed(self) -> int:
        return sum(text.count('"sha256"') for name, text in self.image().roles.items() if name.startswith("bin."))


@pytest.fixture
def keyed(site: Path, tmp_path: Path) -> Keyed:
    return Keyed(site, tmp_path / "keys", ("root", "builder"))


@pytest.fixture
def fourth(tmp_path: Path) -> Path:
    make_release(tmp_path / "digits@4", "4")
    return tmp_path / "digits@4"


def test_a_site_begins_to_sign_and_loses_no_release(keyed: Keyed, releases: dict[str, Path]) -> None:
    assert "6 artifacts that are published are listed" in keyed.begun.stdout and keyed.listed() == 6
    assert {one["threshold"] for one in keyed.roles().values()} == {1}
    keyed.refused("conflict", "keys", "begin")
    assert "nothing was changed" in keyed.ok(
        "publish", releases["digits@1"], keys=keyed.site
    )  # no key is asked for
    assert keyed.listed() == 6
    assert "in 365 days" in keyed.ok("keys", "list") and "builder.key" in keyed.ok("keys", "list")


def test_nothing_is_published_that_is_not_signed_and_signing_alone_harms_nothing(
    keyed: Keyed, fourth: Path
) -> None:
    release = load_release(fourth)
    assert isinstance(release, Release)
    with client_of(load_site(keyed.site)) as client:
        with pytest.raises(EdgeliftError) as caught:
            client.post("/v1/releases", release, PublishReply)
        assert caught.value.code == "not-signed" and "--key" in caught.value.hint
    assert "--to-sign" in keyed.refused("not-found", "publish", fourth, keys=keyed.site)
    broken = next((fourth / "blobs").rglob("*"))
    data = broken.read_bytes()
    shutil.move(broken, fourth.parent / "aside")
    keyed.run("publish", fourth)  # breaks off: before it signs, or behind it
    broken.write_bytes(data)
    carried = fourth.parent / "list.json"
    keyed.ok("publish", fourth, "--to-sign", carried)
    keyed.ok("keys", "bring", carried)  # signed; then whoever published is cut off
    assert keyed.listed() == 8
    assert "Signed and published digits@4" in keyed.ok("publish", fourth, keys=keyed.site)
    assert keyed.listed() == 8


def test_a_release_is_signed_where_the_keys_are_and_carried_over(
    keyed: Keyed, fourth: Path, tmp_path: Path
) -> None:
    carried = tmp_path / "to-sign.json"
    made = keyed.ok("publish", fourth, "--to-sign", carried, keys=keyed.site)
    assert "edgelift keys sign" in made and "genuine: digits@4 for arm64-neon" in made
    keyed.refused("conflict", "publish", fourth, "--to-sign", carried)
    keyed.refused("not-signed", "keys", "bring", carried)
    offline = keyed.run("keys", "sign", carried, at="")
    assert (
        offline.returncode == 0
        and "genuine: digits@4" in offline.stderr
        and "edgelift keys bring" in offline.stdout
    )
    assert "Now publish it" in keyed.ok("keys", "bring", carried, keys=keyed.site)
    keyed.refused("changed-meanwhile", "keys", "bring", carried, keys=keyed.site)
    keyed.ok("publish", fourth, keys=keyed.site)
    exported = tmp_path / "export.json"
    assert "Nothing is to be signed" in keyed.ok("keys", "export", exported, "--release", fourth)
    assert not exported.exists()


def test_two_of_three_sign_one_after_the_other(site: Path, fourth: Path, tmp_path: Path) -> None:
    names = tuple(f"{role}-{number}" for role in ("root", "builder") for number in (1, 2, 3))
    keyed = Keyed(site, tmp_path / "keys", names, "2-of-3")
    alone = [tmp_path / person for person in ("anna", "ben", "carl")]
    for number, folder in enumerate(alone, 1):
        folder.mkdir()
        for role in ("root", "builder"):
            shutil.copy(keyed.keys / f"{role}-{number}.key", folder)
    assert "1 more of" in keyed.refused("not-signed", "publish", fourth, keys=alone[2])
    carried = tmp_path / "carried.json"
    assert "Carry" in keyed.ok("publish", fourth, "--to-sign", carried, keys=alone[2])
    assert "Bring it" in keyed.ok("keys", "sign", carried, keys=alone[0])
    keyed.ok("keys", "bring", carried, keys=site)
    keyed.ok("publish", fourth, keys=site)
    stolen = keyed.keys / "builder-2.key"
    keyed.ok("keys", "revoke", stolen, "--to-sign", tmp_path / "revoke", keys=alone[0])
    keyed.ok("keys", "sign", tmp_path / "revoke", keys=alone[2])
    keyed.ok("keys", "bring", tmp_path / "revoke")
    assert len(keyed.roles()["builder"]["keys"]) == 2 and keyed.listed() == 8
    keyed.refused("not-found", "keys", "revoke", stolen)
    said = keyed.refused("conflict", "keys", "revoke", keyed.keys / "builder-1.key")
    assert "1 key of builder would be left, and 2 must sign" in said and "keys rotate builder" in said
    public = json.loads(keyed.ok("keys", "create", "dora", "--out", tmp_path / "dora", "--json"))["public"]
    keyed.refused("malformed", "keys", "rotate", "builder", "--new", public)
    new = tmp_path / "dora" / "dora.key"
    keys = [new, *(keyed.keys / f"{name}.key" for name in ("root-1", "root-2", "builder-3"))]
    named = [word for one in keys for word in ("--key", one)]
    keyed.ok(
        "keys", "rotate", "builder", "--old", keyed.roles()["builder"]["keys"][0]["id"][:8], "--new", new, *named
    )
    assert public in {one["public"] for one in keyed.roles()["builder"]["keys"]} and keyed.listed() == 8


def test_what_is_retired_is_listed_no_more_when_somebody_signs_the_next_time(keyed: Keyed, fourth: Path) -> None:
    keyed.ok("release", "retire", "digits@1")
    assert keyed.listed() == 6
    assert "no more: digits@1" in keyed.ok("publish", fourth)
    assert keyed.listed() == 6
    assert "(not-signed)" in keyed.run("release", "unretire", "digits@1").stderr
    before = keyed.image()
    change = begin_change(before)  # as a thief of the builder's key would

    with client_of(load_site(keyed.site)) as client:
        artifact = load_release(fourth).artifacts[0].id
        change.image.unlist("digits", [artifact], time.time())
        change.sign([unseal(read_key_file(keyed.keys / "builder.key"), PASSPHRASE)])
        with pytest.raises(EdgeliftError) as caught:
            client.put("/v1/trust/image", brought(change), dict)
    assert caught.value.code == "conflict" and keyed.image() == before


def test_another_passphrase_opens_nothing_and_odd_keys_are_told(
    keyed: Keyed, fourth: Path, tmp_path: Path
) -> None:
    env = {"EDGELIFT_KEYS": str(keyed.keys), "EDGELIFT_PASSPHRASE": "something else"}
    done = edgelift("publish", fourth, "--site", keyed.site, env=env)
    assert done.returncode == 1 and "(not-authorised)" in done.stderr
    assert keyed.listed() == 6
    (keyed.keys / "builder.key").chmod(0o644)
    keyed.refused("bad-config", "publish", fourth)
    keyed.refused("bad-id", "keys", "create", "../x")
    keyed.refused("not-found", "keys", "revoke", "zz")
    keyed.refused("not-found", "keys", "rotate", "builder", "--new", tmp_path / "none.key")
    assert keyed.run("keys", "rotate", "everything").returncode == 2


def test_a_device_takes_new_releases_through_every_rotation(keyed: Keyed, tmp_path: Path) -> None:
    server = Server(keyed.site, "--broker", "none").start()
    device = Device(tmp_path / "pi-1", server.url, server.token)
    client = Client(server.url, server.operator)
    try:
        device.start()
        wait_until(lambda: client.get("/v1/devices/counts", dict)["total"] == 1)
        for number, rotated in enumerate(("", "online", "builder", "root"), 1):
            if rotated:
                new = ("--new", keyed.keys / f"new-{rotated}.key") if rotated != "online" else ()
                if new:
                    cheap_key(new[1], f"new-{rotated}")
                keyed.ok("keys", "rotate", rotated, *new)
            release = f"digits@{1 + number % 3}"
            client.post("/v1/devices/pi-1/assign", AssignRequest(release), AssignReply)
            wait_until(lambda n=number: client.get("/v1/devices/pi-1", DeviceDetail).device.revision_seen == n)
        faults = device.status()["report"].get("degraded", [])
        assert [one for one in faults if one["part"] == "assignment"] == []
        assert not (keyed.site / "secrets" / "online-key.next").exists()
    finally:
        device.stop()
        server.stop()


def test_of_two_who_sign_at_once_both_are_taken(
    keyed: Keyed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGELIFT_PASSPHRASE", PASSPHRASE)
    times = []
    with client_of(load_site(keyed.site)) as client:

        def other(change: Change) -> None:
            change.image.list_release([listed(71)], time.time())

        def mine(change: Change) -> None:
            times.append(len(times))
            if len(times) < 3:  # somebody else is faster, twice
                settle(
                    client, "publish theirs", Signing(folder=keyed.keys), lambda c: c.renew(time.time(), 36_500)
                )
            change.image.list_release([listed(72)], time.time())

        assert settle(client, "publish a", Signing(folder=keyed.keys), other) == "brought"
        assert settle(client, "publish b", Signing(folder=keyed.keys), mine) == "brought"
    assert len(times) == 3 and keyed.listed() == 8
    assert sorted(path.name for path in keyed.keys.iterdir()) == ["builder.key", "root.key", "trusted-root.json"]
