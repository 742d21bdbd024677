"""A manifest that is longer than was signed, or than any may be."""

import pytest
from tests.attacks.board import PATH, Board, nothing
from tests.simulators.signer import Signer


@pytest.mark.parametrize("name", ["image", "director"])
def test_a_length_that_only_one_of_them_says_is_refused(board: Board, name: str) -> None:
    def longer(signer: Signer) -> None:
        roles = {"image": signer.image.signed("builder"), "director": signer.director.targets}
        roles[name].targets[PATH].length += 1

    board.withstands("not-agreed", longer)


def test_one_that_the_assignment_says_alone_is(board: Board) -> None:
    board.withstands("not-agreed", nothing, manifest_bytes=1 << 40)
