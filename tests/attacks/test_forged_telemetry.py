"""A device's certificate brings telemetry that is another's, or says to be."""

import pytest
from tests.attacks.who import SecureSite, Session
from tests.waiting import until

from edgelift_contract import codec, routes
from edgelift_contract.replies import BatchReply
from edgelift_contract.telemetry import Batch, DeviceEvent, Item
from edgelift_fleet.messages import DeviceDetail

pytestmark = pytest.mark.fleet


def batch(device: str, epoch: str, message: str) -> Batch:
    return Batch(
        schema=1,
        device=device,
        epoch=epoch,
        items=[Item(0, event=DeviceEvent(at=1.0, kind="odd", message=message))],
    )


def said(found: DeviceDetail) -> list[str]:
    return [event.message for event in found.events]


@pytest.mark.parametrize("named", ["in the path", "in the body", "over the broker"])
def test_it_counts_for_nobody(secure: SecureSite, named: str) -> None:
    name = f"forged-{named.replace(' ', '-')}"
    board, thief = secure.board(name), secure.board(f"{name}-thief")
    forged = batch(board.name, "e1", "forged")
    with secure.unchanged(board.name, thief.name):
        if named == "over the broker":
            with Session(secure, thief, secure.broker(thief)) as session:
                session.says(routes.telemetry_topic(thief.name), forged)
        else:
            path = routes.telemetry_path(board.name if named == "in the path" else thief.name)
            refused = secure.ask(thief, "POST", path, forged)
            assert (refused.status, refused.code) == (400, "wrong-device")
        # The host says so, and by then it has looked at it.
        secure.told("wrong-device", board.name, thief.name if named != "in the path" else thief.address)
    honest = batch(board.name, "e1", "honest")
    reply = secure.ask(board, "POST", routes.telemetry_path(board.name), honest)
    assert codec.decode_json(reply.body, BatchReply, what="reply").new == 1
    until(lambda: said(secure.detail(board.name)) == ["honest"], "the honest board's word")


def test_anothers_epoch_and_numbers_keep_nothing_of_the_others_out(secure: SecureSite) -> None:
    board, thief = secure.board("epoch-of"), secure.board("epoch-of-thief")
    with secure.unchanged(board.name):
        taken = secure.ask(thief, "POST", routes.telemetry_path(thief.name), batch(thief.name, "same", "mine"))
        assert taken.status == 200
    secure.ask(board, "POST", routes.telemetry_path(board.name), batch(board.name, "same", "honest"))
    assert said(secure.detail(board.name)) == ["honest"] and said(secure.detail(thief.name)) == ["mine"]
