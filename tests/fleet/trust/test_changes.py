"""Keys are replaced, taken out and renewed: a device follows each time, and what only looks so is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fleet.trust.worlds import NOW, World, key, listed
from tuf.api.metadata import DelegatedRole, Metadata, Targets

from edgelift_contract.errors import ContractError, EdgeliftError
from edgelift_fleet.messages.trust import ImageRoles
from edgelift_fleet.trust.carried import carried, change_of, read_carried, write_carried
from edgelift_fleet.trust.change import Change
from edgelift_fleet.trust.expiring import expiring, signing_roles
from edgelift_fleet.trust.image import Image, expires, snapshot


def ids(signers: list) -> list[str]:
    return [one.public_key.keyid for one in signers]


def code(what, *given, **named) -> str:
    with pytest.raises(EdgeliftError) as caught:
        what(*given, **named)
    return caught.value.code


@pytest.mark.parametrize("preset", [(1, 1), (3, 2)])
@pytest.mark.parametrize("role", ["root", "builder", "online"])
def test_a_device_follows_a_key_that_was_replaced(tmp_path: Path, role: str, preset: tuple[int, int]) -> None:
    world = World.make(*preset)
    verifier = world.verifier(tmp_path)
    verifier.open(world.hand(verifier.nonce, [listed(1)]))
    old, new = ({"root": world.root, "builder": world.builder, "online": [world.online]}[role][0]), key()
    change = world.change()
    change.replace(role, ids([old]), [new.public_key], NOW)
    need = preset[1]
    signers = [*world.root[:need], *world.builder[1:need], new] if role != "online" else world.root[:need]
    world.take(change, signers)
    if role == "online":
        world.online = new
    opened = verifier.open(world.hand(verifier.nonce, [listed(2), listed(1, "faces")]))
    assert set(opened.signed) == {listed(2).artifact, listed(1, "faces").artifact}
    again = world.change()  # and the site goes on with the new key
    again.image.list_release([listed(9)], NOW)
    world.take(again, [*world.builder[1:], new] if role == "builder" else world.builder)
    verifier.open(world.hand(verifier.nonce, [listed(9)]))


@pytest.mark.parametrize("role", ["root", "builder"])
def test_what_a_key_signs_that_was_taken_out_counts_no_more(role: str) -> None:
    world = World.make(3, 2)
    stolen = (world.root if role == "root" else world.builder)[0]
    change = world.change()
    change.replace(role, ids([stolen]), [], NOW)
    world.take(change, [*world.root[1:], *world.builder[1:]])
    forged = world.change()
    if role == "root":
        forged.replace("builder", ids([world.builder[0]]), [stolen.public_key], NOW)
    else:
        forged.image.list_release([listed(66)], NOW)
    for name in forged.image.changed:
        forged.image.roles[name].sign(stolen, append=True)
    assert code(world.take, forged, [world.root[1], world.builder[1], stolen][:: 1 if role == "root" else -2]) == (
        "not-signed"
    )


def test_nobody_locks_the_site_out() -> None:
    world = World.make()
    for role, keys in (("root", world.root), ("builder", world.builder), ("online", [world.online])):
        assert code(world.change().replace, role, ids(keys), [], NOW) == "conflict"
        assert code(world.change().replace, role, ["00" * 32], [], NOW) == "not-found"
        assert code(world.change().replace, role, [], [keys[0].public_key], NOW) == "conflict"


@pytest.mark.parametrize("signed", ["old", "new"])
def test_a_new_root_is_signed_by_both_sides(signed: str) -> None:
    world, new = World.make(), key()
    change = world.change()
    change.replace("root", ids(world.root), [new.public_key], NOW)
    change.sign(world.root if signed == "old" else [new])
    assert change.lacking()["root"] == change.lacking()["director"] == 1
    assert code(world.bring, change.image.files(), change.director.files()) == "not-signed"
    change.sign([*world.root, new])
    assert not change.lacking()


def test_the_roots_change_in_both_repositories_or_in_none() -> None:
    world, new = World.make(), key()
    for role, signers in (("root", [*world.root, new]), ("online", world.root)):
        change = world.change()
        change.replace(role, ids(world.root if role == "root" else [world.online]), [new.public_key], NOW)
        change.sign(signers)
        assert code(world.bring, change.image.files(), {}) == "metadata-wrong"
        assert code(world.bring, {}, change.director.files()) == "metadata-wrong"


def test_a_change_is_carried_and_signed_one_after_the_other() -> None:
    world = World.make(3, 2)
    change = world.change()
    change.replace("builder", ids(world.builder[:1]), [key().public_key], NOW)
    roles = {role: one.body.decode() for role, one in world.image.items()}
    standing = ImageRoles(roles, world.director["root"].body.decode())
    file = carried(change, standing, "rotate builder")
    for signer in (world.root[2], world.builder[2], world.builder[1], world.root[0]):
        there = change_of(file)
        assert there.lacking()
        before = Image.load({role: text.encode() for role, text in file.standing.roles.items()}).roles
        assert any("who lists releases" in line for line in there.told(before))
        there.sign([signer])
        file = carried(there, file.standing, file.why)
    done = change_of(file)
    assert not done.lacking()
    world.bring(done.image.files(), done.director.files())


def test_renewing_signs_what_ends_soon_and_changes_nothing_else() -> None:
    world = World.make()
    change = world.change()
    change.renew(NOW, 90)
    assert not change
    later = NOW + 300 * 86400
    change.renew(later, 90)
    assert change.image.changed == world.image.keys() and change.director.changed == {"root"}
    told = list(change.told(world.change().image.roles))
    assert told[-1].startswith(f"{len(world.image) - 2} roles as before") and not any(
        "genuine" in one for one in told
    )


def test_what_ends_within_thirty_days_is_told_with_what_to_do() -> None:
    world = World.make()
    assert expiring(world.image, world.director, NOW) == [] == expiring({}, {}, NOW)
    soon = expiring(world.image, world.director, NOW + 340 * 86400)
    assert len(soon) == 3 and all("in 25 days" in one and "edgelift keys renew" in one for one in soon)
    assert all("ended 35 days ago" in one for one in expiring(world.image, world.director, NOW + 400 * 86400))
    change = world.change()
    change.renew(NOW, 36_500)
    assert [one.role for one in signing_roles(world.image, world.director)] == [
        "root",
        "targets",
        "builder",
        "online",
    ]


# --- what only looks so: signed by whom it should be, and wrong ---


def _diamond(change: Change, _: World) -> None:
    """A model's paths reached a second way."""
    signed = change.image.roles["builder"].signed
    change.image.touch("builder", NOW)
    twin = signed.delegations.roles["model.digits"]
    signed.delegations.roles["model.twin"] = DelegatedRole(
        "model.twin", twin.keyids, 1, terminating=True, paths=twin.paths
    )


def _second_builder(change: Change, _: World) -> None:
    signed = change.image.roles["targets"].signed
    change.image.touch("targets", NOW)
    one = signed.delegations.roles["builder"]
    signed.delegations.roles["other"] = DelegatedRole(
        "other", one.keyids, 1, terminating=False, paths=["a/*/*/*/*"]
    )


def _wider_builder(change: Change, _: World) -> None:
    change.image.touch("targets", NOW)
    change.image.roles["targets"].signed.delegations.roles["builder"].paths = ["*"]


def _not_terminating(change: Change, _: World) -> None:
    change.image.touch("builder", NOW)
    change.image.roles["builder"].signed.delegations.roles["model.digits"].terminating = False


def _outside(change: Change, _: World) -> None:
    """Of another model, in this one's bin."""
    change.image.list_release([listed(7)], NOW)
    (name,) = change.image.changed
    targets = change.image.roles[name].signed.targets
    path = next(one for one in targets if one.endswith(listed(7).artifact))
    targets[path.replace("/digits/", "/faces/")] = targets.pop(path)


def _lying_beside(change: Change, _: World) -> None:
    change.image.list_release([listed(7)], NOW)
    (name,) = change.image.changed
    for target in change.image.roles[name].signed.targets.values():
        target.unrecognized_fields["custom"]["hardware_class"] = "jetson-ampere"


def _no_custom(change: Change, _: World) -> None:
    change.image.list_release([listed(7)], NOW)
    (name,) = change.image.changed
    for target in change.image.roles[name].signed.targets.values():
        target.unrecognized_fields.clear()


def _endless(change: Change, _: World) -> None:
    change.image.list_release([listed(7)], NOW)
    (name,) = change.image.changed
    for target in change.image.roles[name].signed.targets.values():
        target.length = 1 << 40


def _huge_bins(change: Change, _: World) -> None:
    change.image.touch("model.digits", NOW)
    signed = change.image.roles["model.digits"].signed
    bins = signed.delegations.succinct_roles
    signed.delegations.succinct_roles = type(bins)(bins.keyids, 1, 24, bins.name_prefix)


def _somebody_below(change: Change, world: World) -> None:
    """A thief leaves himself a way back in, below what is looked at."""
    change.image.touch("model.digits", NOW)
    signed, own = change.image.roles["model.digits"].signed, world.online.public_key
    bins = signed.delegations.succinct_roles
    signed.delegations.keys[own.keyid] = own
    signed.delegations.succinct_roles = type(bins)([own.keyid], 1, 3, bins.name_prefix)


def _for_ever(change: Change, _: World) -> None:
    change.image.touch("builder", NOW)
    change.image.roles["builder"].signed.expires = expires(NOW, 4000)


def _ended(change: Change, _: World) -> None:
    change.image.touch("builder", NOW)
    change.image.roles["builder"].signed.expires = expires(NOW, -1)


def _targets_lists(change: Change, _: World) -> None:
    change.image.touch("builder", NOW)
    other = change.image.roles["bin.digits-0"].signed.targets
    change.image.roles["builder"].signed.targets = dict(other) or {
        "a/b/c/d/e": next(
            target
            for role in change.image.roles.values()
            if isinstance(role.signed, Targets)
            for target in role.signed.targets.values()
        )
    }


def _nobody(change: Change, _: World) -> None:
    change.image.touch("targets", NOW)
    change.image.roles["targets"].signed.delegations = None


WRONG = [
    _diamond, _second_builder, _wider_builder, _not_terminating, _outside, _lying_beside, _no_custom, _endless, _huge_bins,
    _somebody_below, _for_ever, _ended, _targets_lists, _nobody,
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=lambda one: one.__name__.strip("_"))
def test_what_is_signed_and_wrong_is_refused(wrong) -> None:
    world = World.make()
    before = dict(world.image)
    change = world.change()
    wrong(change, world)
    for name in change.image.changed:
        change.image.roles[name].sign(world.root[0] if name == "targets" else world.builder[0])
    assert code(world.bring, change.image.files(), {}) == "metadata-wrong"
    assert world.image == before
    honest = world.change()
    honest.image.list_release([listed(3)], NOW)
    world.take(honest, world.builder)


def test_a_root_that_gives_the_control_plane_more_or_another_key_is_refused() -> None:
    world = World.make()
    for role, keys in (("root", [world.online]), ("timestamp", [key()]), ("targets", [key()])):
        change = world.change()
        for part in (change.image, change.director):
            part.touch("root", NOW)
            for one in keys:
                part.roles["root"].signed.add_key(one.public_key, role)
        change.sign([*world.root, *keys])
        for part in (change.image, change.director):
            part.roles["root"].sign(world.root[0], append=True)
        assert code(world.bring, change.image.files(), change.director.files()) in ("metadata-wrong", "not-signed")


def test_versions_follow_each_other_and_the_control_planes_own_roles_come_from_nowhere_else() -> None:
    world = World.make()
    for step in (0, 2, 50):
        change = world.change()
        change.image.list_release([listed(5)], NOW)
        (name,) = change.image.changed
        change.image.roles[name].signed.version += step - 1
        change.sign(world.builder)
        assert code(world.bring, change.image.files(), {}) == "changed-meanwhile"
    own = snapshot({"targets": 9}, 9, NOW, world.online)
    for role in ("snapshot", "timestamp", "other", "bin.-0", "../root"):
        assert code(world.bring, {role: own}, {}) == "metadata-wrong"
    assert code(world.bring, {"root": own}, {}) == "metadata-wrong"
    assert code(world.bring, {"builder": b" " * 5_000_001}, {}) == "too-large"
    assert code(world.bring, {}, {"root": b" " * 512_001}) == "too-large"


def test_no_release_is_lost_when_the_builder_changes() -> None:
    world, new = World.make(), key()
    change = world.change()
    change.replace("builder", ids(world.builder), [new.public_key], NOW)
    kept = {"root", "snapshot"} | {name for name in change.image.roles if name == "bin.digits-0"}
    part = {role: data for role, data in change.image.files().items() if role not in kept}
    change.sign([*world.root, new])
    part = {role: data for role, data in change.image.files().items() if role not in kept}
    assert code(world.bring, part, {}) == "not-signed"  # one bin stays signed by the old key alone
    world.bring(change.image.files(), {})
    found = {path for role in world.image for path in _paths(world, role)}
    assert len(found) == 3


def _paths(world: World, role: str) -> list[str]:
    signed = Metadata.from_bytes(world.image[role].body).signed
    return list(signed.targets) if isinstance(signed, Targets) else []


def test_a_refusal_says_how_to_go_on() -> None:
    with pytest.raises(ContractError) as caught:
        World.make().change().replace("root", ids(World.make().root), [], NOW)
    assert "edgelift keys list" in caught.value.hint


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", "malformed"), ("{}", "malformed"), ('{"schema":9}', "unknown-schema"), ("[" * 9999, "malformed"),
        ('{"schema":1,"why":"x","standing":{"roles":{"root":"{"}},"changed":{"roles":{}}}', "malformed"),
        ('{"schema":1,"why":"x","standing":{"roles":{}},"changed":{"roles":{"../x":""}}}', "malformed"),
    ],
)  # fmt: skip
def test_a_file_to_be_signed_that_is_none_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "x"
    assert code(read_carried, path) == "not-found"
    path.write_text(text)
    assert code(lambda: change_of(read_carried(path))) == expected


def test_a_file_to_be_signed_is_never_written_over_another(tmp_path: Path) -> None:
    world = World.make()
    change = world.change()
    change.renew(NOW, 36_500)
    roles = {role: one.body.decode() for role, one in world.image.items()}
    file = carried(change, ImageRoles(roles, world.director["root"].body.decode()), "renew")
    write_carried(tmp_path / "x", file)
    assert code(write_carried, tmp_path / "x", file) == "conflict"
    assert read_carried(tmp_path / "x") == file
    assert code(write_carried, tmp_path / "none" / "x", file) == "disk-error"
