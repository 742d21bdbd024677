"""The image repository's online key is stolen: its snapshot forgets a role, or names another version of it."""

from tests.attacks.board import Board
from tests.simulators.signer import Signer, new_key
from tuf.api.metadata import MetaFile


def resigned(signer: Signer) -> None:
    image = signer.image
    image.sign("snapshot", bump=True)
    image.signed("timestamp").snapshot_meta = MetaFile(image.signed("snapshot").version)
    image.sign("timestamp", bump=True)


def test_a_role_that_is_forgotten_has_it_refused(board: Board) -> None:
    board.says()
    board.sealed()
    del board.signer.image.signed("snapshot").meta["builder.json"]
    resigned(board.signer)
    assert board.refused(board.signer.bundle()) == "metadata-wrong"
    board.passes()


def test_a_version_that_is_not_there_has_it_refused(board: Board) -> None:
    board.says()
    board.sealed()
    board.signer.image.signed("snapshot").meta["builder.json"] = MetaFile(999)
    resigned(board.signer)
    assert board.refused(board.signer.bundle()) == "unreachable"
    board.passes()


def test_it_signs_no_list_of_its_own(board: Board) -> None:
    def lists(signer: Signer) -> None:
        signer.image.signers["targets"] = [new_key()]

    board.withstands("not-signed", lists)
