"""A builder's key is stolen: alone it gets nothing onto a device, and nothing beyond its paths."""

import msgspec
from tests.attacks.board import SAID, Board, unpacked
from tests.simulators.signer import Signer

EVIL = b'{"manifest": "evil"}'


def test_what_it_lists_is_on_no_device_that_the_director_does_not_send_it_to(clocked: Board) -> None:
    clocked.signer.list_artifact(EVIL, SAID)
    clocked.passes()
    assert b"evil" not in clocked.serves


def test_with_its_list_in_place_of_the_right_one_the_assigned_is_not_genuine(board: Board) -> None:
    def instead(signer: Signer) -> None:
        signer.image.signed("builder").targets.clear()
        signer.list_artifact(EVIL, SAID)

    board.withstands("not-genuine", instead)


def test_beyond_its_paths_its_word_counts_for_nothing(board: Board) -> None:
    def narrowed(signer: Signer) -> None:
        signer.image.signed("targets").delegations.roles["builder"].paths = ["a/*/*/cats/*"]

    board.withstands("not-genuine", narrowed)


def test_a_list_that_no_snapshot_names_is_not_looked_at(board: Board) -> None:
    new = unpacked(board.honest())
    (name,) = (name for name in new if name.endswith(".builder.json"))
    board.signer.list_artifact(EVIL, msgspec.structs.replace(SAID, version="3"))
    evil = board.signer.image.sign("builder", bump=True)
    assert board.refused(board.signer.bundle(new | {name: evil})) == "metadata-older"
    board.passes()
