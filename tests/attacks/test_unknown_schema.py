"""A form that this agent does not know, said by whoever."""

import json
import zlib

import pytest
from tests.attacks.board import Board
from tests.simulators.signer import Signer


@pytest.mark.parametrize("schema", [0, 2, -1, 2**63, "1", None])
def test_another_schema_of_the_whole_is_refused(board: Board, schema: object) -> None:
    whole = json.loads(zlib.decompress(board.honest()))
    whole["schema"] = schema
    assert board.refused(zlib.compress(json.dumps(whole).encode())) in ("unknown-schema", "malformed")
    board.passes()


def test_another_version_of_tuf_is_refused(board: Board) -> None:
    def spoil(data: bytes) -> bytes:
        metadata = json.loads(data)
        metadata["signed"]["spec_version"] = "2.0.0"
        return json.dumps(metadata).encode()

    def changes(signer: Signer) -> None:
        signer.director.spoil["timestamp"] = spoil

    board.withstands("metadata-wrong", changes)
