"""Keys change between what was assigned and what is asked for next."""

import pytest
from tests.attacks.board import Board, repository
from tests.simulators.signer import new_key


@pytest.mark.parametrize("name", ["image", "director"])
def test_what_the_old_keys_sign_after_that_is_refused(clocked: Board, name: str) -> None:
    old = list(repository(clocked.signer, name).signers["timestamp"])
    repository(clocked.signer, name).rotate("timestamp", [new_key()])
    clocked.says()
    clocked.given(clocked.sealed(root=True))
    new = repository(clocked.signer, name).signers["timestamp"]
    repository(clocked.signer, name).signers["timestamp"] = old
    clocked.says()
    assert clocked.refused(clocked.sealed()) == "not-signed"
    repository(clocked.signer, name).signers["timestamp"] = new
    clocked.passes()


def test_what_was_taken_before_is_taken_again_after_a_start(board: Board) -> None:
    data = board.honest()
    board.given(data)
    board.trust = board.started()
    board.given(data)
    board.signer.director.rotate("timestamp", [new_key()])
    board.says()
    board.given(board.sealed(root=True))
    board.passes()
