"""A certificate that has ended is shown: it is good for one thing, to be renewed, and only where it is on record."""

import pytest
from tests.attacks.who import Caller, SecureSite, enters

from edgelift_agent.identity.keys import new_key
from edgelift_contract import routes

pytestmark = pytest.mark.fleet

DAY = 86400.0


def test_it_opens_nothing_but_its_own_renewal(secure: SecureSite) -> None:
    board = secure.ended("ended")
    secure.introduce(board)
    access = secure.broker(secure.board("ended-neighbour"))
    with secure.unchanged("ended"):
        for method, path in (
            ("GET", routes.desired_path("ended")), ("PUT", routes.report_path("ended")),
            ("POST", routes.telemetry_path("ended")), ("GET", routes.blob_path("0" * 64)),
            ("PUT", routes.bundle_path("ended")),
        ):  # fmt: skip
            refused = secure.ask(board, method, path, {} if method != "GET" else None)
            assert (refused.status, refused.code) == (403, "identity-expired"), path
        assert not enters(secure, board, access)
    secure.told("identity-expired", board.address)
    identity = secure.detail("ended").identity
    assert identity is not None and identity.state == "expired"
    secure.renew(board)
    assert enters(secure, board, access)


def test_one_that_nobody_here_knows_is_not_renewed(secure: SecureSite) -> None:
    """As of a board that was removed before a backup that knows nothing of it, or whose rows are lost."""
    stranger = Caller("ended-unknown")
    made = secure.authority.issue_device(stranger.name, stranger.csr(), 1_700_000_000.0, days=1)
    stranger.certificates = made.pem
    for csr in ("", stranger.csr(), Caller(stranger.name, new_key()).csr()):
        refused = secure.introduce(stranger, csr=csr)
        assert (refused.status, refused.code) == (403, "identity-expired")
    assert secure.certificates(stranger.name) == []
    secure.told("identity-expired", stranger.address)
    stranger.certificates = ""
    secure.enrol(stranger, secure.token())
    assert secure.poll(stranger).status == 304
