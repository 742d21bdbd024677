"""Stolen online keys count the versions up so far that the honest site's are older for ever; a new root mends it."""

import pytest
from tests.attacks.board import Board, repository
from tests.simulators.signer import new_key


@pytest.mark.parametrize("name", ["image", "director"])
def test_other_keys_let_the_honest_site_go_on(board: Board, name: str) -> None:
    repo = repository(board.signer, name)
    versions = {role: repo.signed(role).version for role in ("snapshot", "timestamp")}
    for role in versions:
        repo.signed(role).version = 2**31 - 9
    board.says()
    board.given(board.sealed())
    for role, version in versions.items():
        repo.signed(role).version = version + 1
    board.says()
    assert board.refused(board.sealed()) == "metadata-older"
    for role in versions:
        repo.rotate(role, [new_key()])
    board.says()
    board.given(board.sealed(root=True))
    board.passes()
