"""Who is between gives an assignment without any signature."""

import pytest
from tests.attacks.board import DEVICE, Board
from tests.simulators.signer import digest

from edgelift_agent.link.mqtt import MAX_PACKET_BYTES
from edgelift_contract.assignment import Assignment, SlotAssignment, dump_assignment

EVIL = dump_assignment(
    Assignment(
        schema=1, device=DEVICE, revision=99,
        slots={"digits": SlotAssignment(digest(b"evil"), 4, "digits", "9")},
    )
)  # fmt: skip


@pytest.mark.parametrize(
    "data", [EVIL, b"{}", b"", b"[]", b"\x00"], ids=["assignment", "{}", "nothing", "[]", "zero"]
)
def test_it_is_refused(board: Board, data: bytes) -> None:
    if board.way == "mqtt":
        assert board.trust.worth(data, digest(board.serves), MAX_PACKET_BYTES) == "ask"
    elif data:
        assert board.refused(data) == "not-signed"
    board.passes()


def test_also_after_a_start(board: Board) -> None:
    board.trust = board.started()
    assert board.trust.must_be_signed()
    board.passes()
