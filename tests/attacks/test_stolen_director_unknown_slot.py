"""The director's key is stolen: a slot for which it signs no artifact, and one artifact for another's."""

import pytest
from tests.attacks.board import PATH, Board, nothing
from tests.simulators.signer import Signer


def test_a_slot_whose_artifact_is_not_among_its_targets_is_refused(board: Board) -> None:
    def forgets(signer: Signer) -> None:
        del signer.director.targets.targets[PATH]

    board.withstands("not-agreed", forgets)


@pytest.mark.parametrize(
    "wanted", [{"artifact": "0" * 64}, {"manifest_bytes": 3}, {"version": "9"}, {"model": "cats"}]
)
def test_a_slot_that_says_otherwise_than_its_target_is_refused(board: Board, wanted: dict[str, object]) -> None:
    board.withstands("not-agreed", nothing, **wanted)


def test_it_can_not_hand_on_to_others(board: Board) -> None:
    def delegates(signer: Signer) -> None:
        signer.director.delegate("targets", "friend", ["*"])
        del signer.director.roles["friend"]

    board.withstands("metadata-wrong", delegates)
