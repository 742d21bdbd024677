"""Who has no key writes the nonce, or a time, that a device wants to see."""

import json
from typing import Any

import pytest
from tests.attacks.board import Board, unpacked

TIMESTAMP = "director/timestamp.json"


FORGED: list[tuple[dict[str, Any], str]] = [
    ({}, "not-signed"),
    ({"version": 2**31 - 1}, "not-signed"),
    ({"issued_at": 4_000_000_000}, "metadata-expired"),  # a time that nobody signed makes nothing good
    ({"issued_at": 0}, "not-signed"),
]


@pytest.mark.parametrize(("words", "code"), FORGED, ids=str)
def test_an_old_answer_with_the_new_nonce_written_in_is_refused(
    online: Board, words: dict[str, Any], code: str
) -> None:
    old = unpacked(online.honest())
    online.passes()
    metadata = json.loads(old[TIMESTAMP])
    metadata["signed"] |= {"nonce": online.trust.nonce, **words}
    assert online.refused(online.signer.bundle(old | {TIMESTAMP: json.dumps(metadata).encode()})) == code
    online.passes()


@pytest.mark.parametrize(
    "words",
    [{"nonce": 5}, {"nonce": "x" * 1000}, {"issued_at": -1}, {"issued_at": 1e300}, {"issued_at": None}],
    ids=str,
)
def test_odd_words_there_are_refused(online: Board, words: dict[str, Any]) -> None:
    new = unpacked(online.honest())
    metadata = json.loads(new[TIMESTAMP])
    metadata["signed"] |= words
    assert online.refused(online.signer.bundle(new | {TIMESTAMP: json.dumps(metadata).encode()})) == "malformed"
    online.passes()
