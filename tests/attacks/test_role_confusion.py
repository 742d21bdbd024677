"""One role's metadata, well signed, as another's."""

import json

import pytest
from tests.attacks.board import Board, repository
from tests.simulators.signer import Signer


@pytest.mark.parametrize("name", ["image", "director"])
@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_another_type_is_refused(board: Board, name: str, role: str) -> None:
    other = "snapshot" if role != "snapshot" else "targets"

    def spoil(data: bytes) -> bytes:
        metadata = json.loads(data)
        metadata["signed"]["_type"] = other
        return json.dumps(metadata).encode()

    def confuses(signer: Signer) -> None:
        repository(signer, name).spoil[role] = spoil

    board.withstands("metadata-wrong", confuses)


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_a_threshold_of_none_is_refused(board: Board, role: str) -> None:
    def spoil(data: bytes) -> bytes:
        root = json.loads(data)
        root["signed"]["roles"][role]["threshold"] = 0
        return json.dumps(root).encode()

    def none_needed(signer: Signer) -> None:
        signer.director.spoil["root"] = spoil

    board.withstands("metadata-wrong", none_needed, root=True)
