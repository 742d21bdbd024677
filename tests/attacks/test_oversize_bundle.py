"""More files, or longer names, than metadata ever has."""

import zlib

import msgspec
import pytest
from tests.attacks.board import Board, unpacked

from edgelift_contract.signed import MAX_FILES_BYTES


def packed(**words: object) -> bytes:
    return zlib.compress(msgspec.json.encode({"schema": 1, "device": "pi-1", "files": {}, **words}))


ODD = {
    "files without number": {"files": {f"image/{n}.json": "" for n in range(601)}},
    "a name without an end": {"files": {f"image/{'x' * 300}.json": ""}},
    "a file without an end": {"files": {"image/timestamp.json": "x" * (MAX_FILES_BYTES - 100)}},
    "a device without an end": {"device": "x" * 100_000},
}


@pytest.mark.parametrize("name", ODD)
def test_it_is_refused(board: Board, name: str) -> None:
    assert board.refused(packed(**ODD[name])) in ("malformed", "too-large", "wrong-device")
    board.passes()


def test_a_role_of_the_director_that_is_too_long_is_refused(board: Board) -> None:
    new = unpacked(board.honest())
    new["director/timestamp.json"] += b" " * 20_000
    assert board.refused(board.signer.bundle(new)) == "too-large"
    board.passes()
