"""To which releases devices may go back is signed by the builders: changed, shown before it is signed, kept, told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.fleet.trust.test_key_commands import Keyed, keyed
from tests.fleet.trust.worlds import NOW, World, listed

from edgelift_contract.errors import ContractError
from edgelift_fleet.trust.change import Change
from edgelift_fleet.trust.image import Image, goes_back

__all__ = ["keyed"]

pytestmark = pytest.mark.fleet

ONE, TWO = listed(1), listed(2)


def allowed(image: Image) -> set[str]:
    return {
        path.rpartition("/")[2]
        for name, metadata in image.roles.items()
        if name.startswith("bin.")
        for path, target in metadata.signed.targets.items()
        if goes_back(target)
    }


def told(world: World, change: Change) -> list[str]:
    return list(change.told(world.change().image.roles))


def test_it_is_signed_shown_kept_and_taken_back() -> None:
    world = World.make()
    change = world.change()
    change.image.allow_older("digits", "1", NOW)
    assert told(world, change)[0].startswith("devices may go back to it: digits@1 for arm64-neon")
    world.take(change, world.builder)
    assert allowed(world.change().image) == {ONE.artifact}

    again = world.change()
    again.image.list_release([ONE, TWO], NOW)  # published again
    again.image.allow_older("digits", "1", NOW)
    assert not again

    new = world.change()
    new.image.list_release([listed(7)], NOW)
    new.image.allow_older("digits", "7", NOW)
    assert told(world, new)[0].startswith("genuine, and devices may go back to it: digits@7")

    back = world.change()
    back.image.allow_older("digits", "1", NOW, allowed=False)
    assert told(world, back)[0].startswith("devices may not go back to it any more: digits@1")
    world.take(back, world.builder)
    assert allowed(world.change().image) == set()


def test_what_is_not_listed_can_not_be_allowed() -> None:
    change = World.make().change()
    for model, version in (("digits", "9"), ("nobody", "1"), ("faces", "2")):
        with pytest.raises(ContractError) as caught:
            change.image.allow_older(model, version, NOW)
        assert caught.value.code == "not-genuine"
    assert not change


@pytest.mark.parametrize("word", ["true", 1, None, [True]])
def test_a_word_that_is_none_is_not_taken(word: object) -> None:
    world = World.make()
    change = world.change()
    change.image.allow_older("digits", "1", NOW)
    for target in change.image.roles[change.image.bin_of(ONE)].signed.targets.values():
        target.unrecognized_fields["custom"]["allow_older"] = word
    assert "devices may go back" not in " ".join(told(world, change))
    with pytest.raises(ContractError) as caught:
        world.take(change, world.builder)
    assert caught.value.code == "metadata-wrong"


def test_a_device_is_handed_it(tmp_path: Path) -> None:
    world = World.make()
    change = world.change()
    change.image.allow_older("digits", "1", NOW)
    world.take(change, world.builder)
    verifier = world.verifier(tmp_path)
    found = verifier.open(world.hand(verifier.nonce, [ONE, listed(1, "faces")])).signed
    assert [one.said.model for one in found.values() if one.allow_older] == ["digits"]


def test_the_command(keyed: Keyed, tmp_path: Path) -> None:
    def shown() -> bool:
        return json.loads(keyed.ok("release", "show", "digits@1", "--json"))["allow_older"]

    assert not shown()
    first = keyed.ok("release", "allow-older", "digits@1")
    assert "devices may go back to it: digits@1" in first and "Signed" in first and shown()
    assert "The builders let devices go back" in keyed.ok("release", "show", "digits@1")
    assert "so already" in keyed.ok("release", "allow-older", "digits@1")
    carried = tmp_path / "no-more.json"
    keyed.ok("release", "allow-older", "digits@1", "--no-more", "--to-sign", carried, keys=keyed.site)
    assert shown()
    keyed.run("keys", "sign", carried, at="")
    keyed.ok("keys", "bring", carried)
    assert not shown()
    keyed.refused("not-found", "release", "allow-older", "digits@9")
    keyed.ok("release", "retire", "digits@1")
    assert "unretire" in keyed.refused("conflict", "release", "allow-older", "digits@1")
