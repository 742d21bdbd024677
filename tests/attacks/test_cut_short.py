"""What was cut off on its way, or has something behind its end."""

import pytest
from tests.attacks.board import Board


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_a_part_of_it_is_refused(board: Board, part: float) -> None:
    data = board.honest()
    assert board.refused(data[: int(len(data) * part)]) == "malformed"
    board.passes()


@pytest.mark.parametrize("more", [b"x", b"\x78\x9c", bytes(1000)])
def test_more_than_it_is_refused(board: Board, more: bytes) -> None:
    assert board.refused(board.honest() + more) == "malformed"
    board.passes()
