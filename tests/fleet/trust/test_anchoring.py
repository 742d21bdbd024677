"""Whoever signs believes no control plane: what stands follows from the root that he knows, and nothing is slipped in."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fleet.trust.test_changes import WRONG, code, ids
from tests.fleet.trust.worlds import NOW, World, key, listed

from edgelift_fleet.trust.anchoring import ANCHOR, check_change, remember
from edgelift_fleet.trust.change import Change


def said(world: World) -> dict[str, bytes]:
    return {role: one.body for role, one in world.image.items()}


def publishing(world: World) -> Change:
    change = world.change()
    change.image.list_release([listed(50)], NOW)
    return change


def test_what_stands_follows_from_the_root_that_was_seen_last(tmp_path: Path) -> None:
    world = World.make()
    check_change(publishing(world), said(world), tmp_path, NOW)
    remember(world.image["root"].body, tmp_path)
    old = said(world)
    for _ in range(2):
        new, change = key(), world.change()
        change.replace("root", ids(world.root), [new.public_key], NOW)
        check_change(change, said(world), tmp_path, NOW)
        world.take(change, [*world.root, new])
        world.root = [new]
        check_change(publishing(world), said(world), tmp_path, NOW)
        remember(world.image["root"].body, tmp_path)
    assert code(check_change, world.change(), old, tmp_path, NOW) == "not-signed"  # an older one than was seen
    other = World.make()
    assert code(check_change, publishing(other), said(other), tmp_path, NOW) == "not-signed"
    (tmp_path / ANCHOR).write_text("{")
    assert code(check_change, publishing(world), said(world), tmp_path, NOW) == "bad-config"


def test_an_artifact_that_a_stolen_control_plane_slips_in_is_not_signed_with_the_next(tmp_path: Path) -> None:
    world = World.make()
    remember(world.image["root"].body, tmp_path)
    forged = world.change()
    forged.image.list_release([listed(66)], NOW)
    for name in forged.image.changed:  # as if it had been listed long ago
        forged.image.roles[name].signed.version -= 1
        forged.image.roles[name].sign(key())
    given = {**said(world), **forged.image.files()}
    change = Change.of(given, world.director["root"].body)
    change.image.list_release([listed(67)], NOW)
    assert code(check_change, change, given, tmp_path, NOW) == "not-signed"


@pytest.mark.parametrize("wrong", WRONG, ids=lambda one: one.__name__.strip("_"))
def test_what_has_not_its_form_is_signed_by_nobody(tmp_path: Path, wrong) -> None:
    world = World.make()
    change = world.change()
    wrong(change, world)
    assert code(check_change, change, said(world), tmp_path, NOW) == "metadata-wrong"


def test_a_directors_root_with_another_key_is_signed_by_nobody(tmp_path: Path) -> None:
    world = World.make()
    change = world.change()
    change.renew(NOW, 36_500)
    check_change(change, said(world), tmp_path, NOW)
    change.director.roles["root"].signed.add_key(key().public_key, "targets")
    assert code(check_change, change, said(world), tmp_path, NOW) == "metadata-wrong"
