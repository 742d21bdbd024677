"""What is no JSON, or nested without an end, in the whole and in each role."""

import zlib

import pytest
from tests.attacks.board import Board, unpacked

ODD = [b"", b"[" * 200_000, b'{"a":' * 100_000, b"\xff\xfe", b"null", b"NaN", b'{"signed": {}}', b"{}"]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_the_whole_is_refused(board: Board, odd: bytes) -> None:
    assert board.refused(zlib.compress(odd)) == "malformed"
    board.passes()


@pytest.mark.parametrize("odd", [one for one in ODD if one != b"\xff\xfe"], ids=range(len(ODD) - 1))
@pytest.mark.parametrize("role", ["image/timestamp.json", "director/timestamp.json", "director/assignment.json"])
def test_in_a_role_it_is_refused(alone: Board, role: str, odd: bytes) -> None:
    new = unpacked(alone.honest()) | {role: odd}
    assert alone.refused(alone.signer.bundle(new)) in (
        "malformed",
        "metadata-wrong",
        "too-large",
        "wrong-device",
        "digest-mismatch",
    )
    alone.passes()
