"""The director's key is stolen: nothing that the builder doesn't list can be installed by it."""

import msgspec
from tests.attacks.board import MANIFEST, SAID, Board, nothing
from tests.simulators.signer import Signer, new_key


def unlists(signer: Signer) -> None:
    signer.image.signed("builder").targets.clear()


def test_an_artifact_of_the_thiefs_own_is_refused(clocked: Board) -> None:
    clocked.withstands("not-genuine", unlists, manifest=b'{"manifest": "evil"}')


def test_nor_does_a_builder_of_its_own_help(board: Board) -> None:
    def signs_itself(signer: Signer) -> None:
        signer.image.signers["builder"] = [new_key()]

    board.withstands("not-signed", signs_itself, manifest=b'{"manifest": "evil"}')


def test_nor_is_another_model_taken_for_this_one(board: Board) -> None:
    def lists_cats(signer: Signer) -> None:
        unlists(signer)
        signer.list_artifact(MANIFEST, msgspec.structs.replace(SAID, model="cats"))

    board.withstands("not-genuine", lists_cats)


def test_what_it_can_do_is_to_choose_among_what_is_listed(board: Board) -> None:
    other = msgspec.structs.replace(SAID, version="3", release_counter=9)
    board.signer.list_artifact(b'{"manifest": 3}', other)
    board.says(b'{"manifest": 3}', other)
    nothing(board.signer)
    board.given(board.sealed())
