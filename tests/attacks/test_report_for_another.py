"""A device's certificate reports for another device: what it would run, and that nothing else is newer."""

import pytest
from tests.attacks.who import SecureSite, Session

from edgelift_contract import codec, routes
from edgelift_contract.replies import ReportReply
from edgelift_contract.report import DeviceFacts, Presence, Report

pytestmark = pytest.mark.fleet


def report(device: str, sequence: int, hardware_class: str) -> Report:
    facts = DeviceFacts(hardware_class)
    return Report(schema=1, device=device, epoch="e1", sequence=sequence, at=1.0, agent_version="1", facts=facts)


@pytest.mark.parametrize("named", ["in the path", "in the body", "over the broker", "as gone", "as a newcomer"])
def test_it_counts_for_nobody(secure: SecureSite, named: str) -> None:
    name = f"report-{named.replace(' ', '-')}"
    board, thief = secure.board(name), secure.board(f"{name}-thief")
    forged = report(board.name, 2**50, "evil")
    with secure.unchanged(board.name, thief.name):
        if named == "as a newcomer":
            refused = secure.introduce(thief, name=board.name, csr=thief.csr())
        elif named in ("in the path", "in the body"):
            refused = secure.ask(
                thief, "PUT", routes.report_path(board.name if named == "in the path" else thief.name), forged
            )
        else:
            message = forged if named == "over the broker" else Presence(1, board.name, False, "e1", 2**50)
            topic = routes.reported_topic if named == "over the broker" else routes.state_topic
            with Session(secure, thief, secure.broker(thief)) as session:
                session.says(topic(thief.name), message)
            refused = None
        assert refused is None or (refused.status, refused.code) == (400, "wrong-device")
        secure.told("wrong-device", board.name, thief.name if refused is None else thief.address)
    honest = secure.ask(board, "PUT", routes.report_path(board.name), report(board.name, 1, "arm64-neon"))
    assert codec.decode_json(honest.body, ReportReply, what="reply").news
    assert secure.detail(board.name).facts.hardware_class == "arm64-neon"
