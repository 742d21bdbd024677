"""A stick for another device, or one whose file was renamed to this one's."""

import pytest
from tests.attacks.board import DEVICE, Board

from edgelift_agent.artifact.carried import CarriedFolder
from edgelift_contract.carried import signed_name
from edgelift_contract.errors import EdgeliftError


@pytest.mark.parametrize("board", ["stick"], indirect=True)
def test_it_has_nothing_for_this_one(board: Board) -> None:
    file = board.stick / signed_name("pi-2")
    file.parent.mkdir(parents=True)
    board.signer.device = "pi-2"
    file.write_bytes(board.honest())
    board.signer.device = DEVICE
    with pytest.raises(EdgeliftError) as caught:
        CarriedFolder(board.stick).signed(DEVICE)
    assert caught.value.code == "not-found"
    assert board.refused(file.read_bytes()) == "wrong-device"
    board.passes()
