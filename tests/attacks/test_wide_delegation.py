"""A delegation whose paths would reach farther than they may, or not as far."""

import pytest
from tests.attacks.board import MANIFEST, PATH, Board
from tests.simulators.signer import Signer, target


@pytest.mark.parametrize(
    "paths", [["a/*"], ["*"], ["a/*/*/*"], ["b/*/*/*/*"], ["a/*/litert/*/*"], ["A/*/*/*/*"], []]
)
def test_a_star_crosses_no_slash(board: Board, paths: list[str]) -> None:
    def narrowed(signer: Signer) -> None:
        signer.image.signed("targets").delegations.roles["builder"].paths = paths

    board.withstands("not-genuine", narrowed)


def test_a_role_beside_it_lists_nothing_there(board: Board) -> None:
    def beside(signer: Signer) -> None:
        signer.image.signed("builder").targets.clear()
        signer.image.delegate("targets", "friend", ["b/*/*/*/*"], terminating=False)
        signer.image.signed("friend").targets[PATH] = target(PATH, MANIFEST)

    board.withstands("not-genuine", beside)


def test_delegations_in_a_circle_end(board: Board) -> None:
    def circle(signer: Signer) -> None:
        image = signer.image
        image.signed("builder").targets.clear()
        image.signed("targets").delegations.roles["builder"].terminating = False
        for number in range(40):
            image.delegate("builder", f"role{number}", ["a/*/*/*/*"], terminating=False)

    board.withstands("not-genuine", circle)
