"""Parts that were signed well at different times, put together."""

import pytest
from tests.attacks.board import Board, unpacked


@pytest.mark.parametrize("repository", ["image", "director"])
@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_one_role_of_another_time_is_refused(board: Board, repository: str, role: str) -> None:
    old = unpacked(board.honest())
    new = unpacked(board.honest())
    (was,) = (name for name in old if name.startswith(f"{repository}/") and f".{role}.json" in name)
    (now,) = (name for name in new if name.startswith(f"{repository}/") and f".{role}.json" in name)
    assert was != now
    assert board.refused(board.signer.bundle(new | {now: old[was]})) == "metadata-older"
    board.passes()


def test_an_assignment_of_another_time_is_refused(board: Board) -> None:
    name = "director/assignment.json"
    old, new = unpacked(board.honest()), unpacked(board.honest())
    assert board.refused(board.signer.bundle(new | {name: old[name]})) == "digest-mismatch"
    board.passes()


def test_what_is_missing_is_waited_for(board: Board) -> None:
    new = unpacked(board.honest())
    for gone in [name for name in new if "root" not in name and "director/" in name and "assignment" not in name]:
        left = {name: data for name, data in new.items() if name != gone}
        assert board.refused(board.signer.bundle(left)) in ("unreachable", "malformed"), gone
    board.passes()
