"""A root is left out, repeated, or signed by one side only."""

import copy

import pytest
from tests.attacks.board import Board, repository
from tests.simulators.signer import Signer, new_key


def rotate(signer: Signer, name: str) -> None:
    repo = repository(signer, name)
    repo.rotate("timestamp", [new_key()])
    repo.rotate("root", [new_key()])
    repo.sign("root", bump=True)
    repo.signers["root"] = repo.signers["root"][-1:]


@pytest.mark.parametrize("name", ["image", "director"])
@pytest.mark.parametrize("skipped", [2, 3])
def test_without_one_of_them_the_new_keys_count_for_nothing(board: Board, name: str, skipped: int) -> None:
    rotate(board.signer, name)
    rotate(board.signer, name)
    board.honest()
    whole = board.signer.files()
    part = {file: data for file, data in whole.items() if file != f"{name}/{skipped}.root.json"}
    assert board.refused(board.signer.bundle(part)) == "not-signed"
    board.passes()


@pytest.mark.parametrize("side", [slice(0, 1), slice(1, 2)], ids=["old", "new"])
@pytest.mark.parametrize("name", ["image", "director"])
def test_a_root_that_only_one_side_signed_is_refused(board: Board, name: str, side: slice) -> None:
    honest = copy.deepcopy(board.signer)
    repo = repository(board.signer, name)
    repo.rotate("root", [new_key()])
    repo.signers["root"] = repo.signers["root"][side]
    board.says()
    assert board.refused(board.sealed(root=True)) == "not-signed"
    board.signer = honest
    board.passes()
