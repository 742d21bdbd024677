"""Two boards with one card: one name, one key, one certificate, two addresses."""

import dataclasses

import pytest
from tests.attacks.who import Caller, SecureSite
from tests.waiting import until

from edgelift_contract import routes
from edgelift_contract.report import Report

pytestmark = pytest.mark.fleet


@pytest.fixture
def cards(secure: SecureSite) -> tuple[Caller, Caller]:
    board = secure.board("cloned")
    return board, dataclasses.replace(board, address=Caller("").address)


def says(secure: SecureSite, caller: Caller, epoch: str, sequence: int) -> None:
    report = Report(schema=1, device=caller.name, epoch=epoch, sequence=sequence, at=1.0, agent_version="1")
    assert secure.ask(caller, "PUT", routes.report_path(caller.name), report, epoch=epoch).status == 200


def test_both_are_shown_and_one_alone_gets_on(secure: SecureSite, cards: tuple[Caller, Caller]) -> None:
    board, clone = cards
    for sequence in range(4):
        says(secure, board, "first", sequence)
        says(secure, clone, "second", sequence)
    until(lambda: secure.detail("cloned").device.duplicates, "the duplicate")
    assert {one.address for one in secure.detail("cloned").device.duplicates} == {board.address, clone.address}

    secure.renew(board)
    with secure.unchanged("cloned"):
        refused = secure.introduce(
            clone, csr=Caller("cloned").csr()
        )  # for a key of its own, by the old certificate
        assert (refused.status, refused.code) == (409, "already-enrolled")
    secure.told("already-enrolled", clone.address)
    identity = secure.detail("cloned").identity
    assert identity is not None
    assert (identity.address, identity.contested_by) == (board.address, clone.address)
    secure.renew(board)
    assert secure.poll(board).status == 304
