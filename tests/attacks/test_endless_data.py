"""Data without an end: packed small, or plain."""

import tracemalloc
import zlib

import pytest
from tests.attacks.board import Board, unpacked

from edgelift_contract.signed import MAX_FILES_BYTES, MAX_SIGNED_BYTES


def test_what_unfolds_without_an_end_is_never_held_as_a_whole(board: Board) -> None:
    bomb = zlib.compress(b" " * (12 * MAX_FILES_BYTES), 9)
    tracemalloc.start()
    try:
        assert board.refused(bomb) == "too-large"
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_FILES_BYTES
    finally:
        tracemalloc.stop()
    board.passes()


@pytest.mark.parametrize("board", ["http", "stick"], indirect=True)
def test_what_comes_without_an_end_is_cut(board: Board) -> None:
    data = board.honest()
    before = board.trusted()
    with pytest.raises(Exception) as caught:
        board.given(data + bytes(MAX_SIGNED_BYTES))
    assert getattr(caught.value, "code", "") == "too-large"
    assert board.trusted() == before
    board.passes()


def test_over_mqtt_it_is_no_more_than_a_doorbell(alone: Board) -> None:
    data = alone.honest() + bytes(MAX_SIGNED_BYTES)
    assert alone.trust.worth(data[: MAX_SIGNED_BYTES + 1], "", MAX_SIGNED_BYTES) == "ask"
    alone.passes()


@pytest.mark.parametrize("role", ["timestamp", "snapshot"])
def test_one_role_that_is_far_too_long_is_refused(board: Board, role: str) -> None:
    new = unpacked(board.honest())
    (name,) = (name for name in new if name.startswith("image/") and f"{role}.json" in name)
    assert board.refused(board.signer.bundle(new | {name: new[name] + b" " * 2_000_001})) == "too-large"
    board.passes()
