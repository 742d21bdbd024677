"""More than was asked for comes along: it is not installed."""

import msgspec
from tests.attacks.board import MANIFEST, SAID, Board
from tests.simulators.signer import digest, target

from edgelift_contract.signed import target_path

EVIL = b'{"manifest": "evil"}'


def test_an_artifact_that_no_slot_names_is_vouched_for_by_nobody(board: Board) -> None:
    board.says()
    path = target_path(digest(EVIL), SAID)
    board.signer.director.targets.targets[path] = target(path, EVIL, msgspec.to_builtins(SAID))
    assert set(board.given(board.sealed()).signed) == {digest(MANIFEST)}
    board.passes()


def test_files_that_no_role_names_are_not_looked_at(board: Board) -> None:
    data = board.signer.bundle({**board.signer.files(), "image/9.evil.json": b"{}", "image/evil.json": b"{"})
    board.honest()
    more = {**board.signer.files(), "image/9.evil.json": b"{}", "image/evil.json": b"{"}
    assert board.given(board.signer.bundle(more)) and data
    board.passes()
