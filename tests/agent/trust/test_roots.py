"""Roots follow from each other: three at once in one bundle, none skipped; none by other keys."""

from pathlib import Path

import pytest
from tests.agent.trust.test_verifier import Board
from tests.simulators.signer import new_key


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def rotate(board: Board, times: int) -> None:
    """Other keys for everything online, and for the root itself, so many times."""
    for _ in range(times):
        for repo in (board.signer.director, board.signer.image):
            for role in ("timestamp", "snapshot"):
                repo.rotate(role, [new_key()])
            repo.rotate("root", [new_key()])
            repo.sign("root", bump=True)
            repo.signers["root"] = repo.signers["root"][-1:]


def test_three_new_roots_in_one_bundle_are_followed_and_kept(board: Board) -> None:
    board.passes()
    rotate(board, 3)
    board.passes()
    assert '"version":4' in board.verifier._trusted.files["director/root.json"].replace(" ", "")
    board.verifier = board.made()
    board.passes()
    rotate(board, 1)
    board.passes()


@pytest.mark.parametrize("repository", ["director", "image"])
@pytest.mark.parametrize("skipped", [2, 3, 4])
def test_a_root_that_is_skipped_leaves_the_old_ones_word(board: Board, repository: str, skipped: int) -> None:
    board.passes()
    rotate(board, 3)
    board.honest()
    whole = board.signer.files()
    part = {name: data for name, data in whole.items() if name != f"{repository}/{skipped}.root.json"}
    assert board.refused(board.signer.bundle(part)) == "not-signed"
    board.verifier.open(board.signer.bundle(whole))
    board.passes()


def test_a_root_by_other_keys_is_refused(board: Board) -> None:
    board.passes()
    director = board.signer.director
    honest = list(director.signers["root"])
    director.rotate("root", [new_key()])
    director.signers["root"] = director.signers["root"][-1:]
    board.honest()
    director.sign("root", bump=True)
    assert board.refused(board.signer.bundle()) == "not-signed"
    director.signers["root"] = [*honest, *director.signers["root"]]
    director.sign("root")
    board.passes()
