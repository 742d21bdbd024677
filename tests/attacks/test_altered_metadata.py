"""Somebody on the way adds a word to what was signed, or takes its signatures away."""

import json
from typing import Any

import pytest
from tests.attacks.board import Board, unpacked


def altered(metadata: dict[str, Any]) -> None:
    metadata["signed"]["x-added"] = 1


def unsigned(metadata: dict[str, Any]) -> None:
    metadata["signatures"] = []


def under_another_name(metadata: dict[str, Any]) -> None:
    for one in metadata["signatures"]:
        one["keyid"] = "0" * 64


@pytest.mark.parametrize("change", [altered, unsigned, under_another_name])
@pytest.mark.parametrize("name", ["image", "director"])
@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_it_is_refused(board: Board, change: Any, name: str, role: str) -> None:
    new = unpacked(board.honest())
    (file,) = (one for one in new if one.startswith(f"{name}/") and f"{role}.json" in one)
    metadata = json.loads(new[file])
    change(metadata)
    assert board.refused(board.signer.bundle(new | {file: json.dumps(metadata).encode()})) == "not-signed"
    board.passes()
