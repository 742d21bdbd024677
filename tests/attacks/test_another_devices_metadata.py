"""A neighbour's metadata: the same keys, higher versions."""

import pytest
from tests.attacks.board import DEVICE, Board, unpacked


def theirs(board: Board) -> dict[str, bytes]:
    board.says()
    board.signer.device = "pi-2"
    for _ in range(3):
        board.signer.publish()
    board.signer.device = DEVICE
    return board.signer.files()


def test_it_is_refused_and_does_no_lasting_harm(clocked: Board) -> None:
    assert clocked.refused(clocked.signer.bundle(theirs(clocked))) == "wrong-device"
    clocked.passes()


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_no_role_of_it_is_taken_among_ones_own(board: Board, role: str) -> None:
    foreign = {name: data for name, data in theirs(board).items() if "director" in name and f"{role}.json" in name}
    own = {
        name: data for name, data in unpacked(board.honest()).items() if not ("director" in name and role in name)
    }
    assert board.refused(board.signer.bundle(own | foreign)) == "wrong-device"
    board.passes()


def test_nor_is_its_envelope(board: Board) -> None:
    board.says()
    board.signer.device = "pi-2"
    data = board.sealed()
    board.signer.device = DEVICE
    assert board.refused(data) == "wrong-device"
    board.passes()
