"""Who can write in the state folder takes away whom the device trusts, or puts others there."""

import json

import pytest
from tests.attacks.board import Board
from tests.simulators.signer import Signer

from edgelift_agent.trust.trusted import first
from edgelift_contract.codec import canonical_json

OTHERS = canonical_json(first({name: data.decode() for name, data in Signer("pi-1").roots().items()}))


@pytest.mark.parametrize("data", [None, b"", b"{", OTHERS], ids=["gone", "empty", "damaged", "others"])
def test_under_a_running_agent_it_is_written_again(board: Board, data: bytes | None) -> None:
    before, file = json.loads(board.trusted()), board.state / "trust.json"
    file.unlink()
    if data is not None:
        file.write_bytes(data)
    board.trust.look_again()
    assert json.loads(board.trusted()) == before
    board.passes()


@pytest.mark.parametrize("data", [b"", b"{"], ids=["empty", "damaged"])
def test_a_damaged_one_is_no_reason_to_trust_anybody(alone: Board, data: bytes) -> None:
    alone.passes()
    for file in alone.state.iterdir():
        file.write_bytes(data)
    alone.trust = alone.started()
    assert alone.told() == {"trust": "state-damaged"} and alone.trust.must_be_signed()
