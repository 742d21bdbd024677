"""Somebody on the way gives what was signed long ago: all of it, or of one repository."""

import pytest
from tests.attacks.board import Board, unpacked


def test_an_old_assignment_is_refused_by_whichever_clock(clocked: Board) -> None:
    old = clocked.honest()
    clocked.passes()
    clocked.trust.told(clocked.trust.nonce)
    assert clocked.refused(old) == ("metadata-older" if clocked.way == "stick" else "not-fresh")
    clocked.passes()


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_an_old_list_of_what_is_genuine_is_refused_beside_a_fresh_assignment(board: Board, role: str) -> None:
    old = unpacked(board.honest())
    board.passes()
    new = unpacked(board.honest())
    (was,) = (name for name in old if name.startswith("image/") and f"{role}.json" in name)
    (now,) = (name for name in new if name.startswith("image/") and f"{role}.json" in name)
    assert board.refused(board.signer.bundle(new | {now: old[was]})) == "metadata-older"
    board.passes()
