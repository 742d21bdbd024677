"""Fewer signatures than are asked for, or one of them twice."""

import json

import pytest
from tests.attacks.board import Board, repository
from tests.simulators.signer import Signer, new_key, public


@pytest.mark.parametrize("name", ["image", "director"])
@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_too_few_are_refused(board: Board, name: str, role: str) -> None:
    def too_few(signer: Signer) -> None:
        repo = repository(signer, name)
        repo.rotate(role, [new_key(), new_key()], threshold=2)
        repo.signers[role] = repo.signers[role][:1]

    board.withstands("not-signed", too_few, root=True)


def test_one_signature_twice_is_one(board: Board) -> None:
    def twice(signer: Signer) -> None:
        signer.image.rotate("targets", [new_key(), new_key()], threshold=2)

        def spoil(data: bytes) -> bytes:
            metadata = json.loads(data)
            metadata["signatures"] = [metadata["signatures"][0]] * 2
            return json.dumps(metadata).encode()

        signer.image.spoil["targets"] = spoil

    board.withstands("metadata-wrong", twice, root=True)


def test_too_few_builders_are_refused(board: Board) -> None:
    def too_few(signer: Signer) -> None:
        targets = signer.image.signed("targets")
        targets.add_key(public(new_key()), "builder")
        targets.delegations.roles["builder"].threshold = 2

    board.withstands("not-signed", too_few)
