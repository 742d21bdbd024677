"""A request for a certificate names another device than the one that asks, by a token or by its own certificate."""

import pytest
from tests.attacks.csr import request
from tests.attacks.who import Caller, SecureSite

from edgelift_agent.identity.keys import request_for

pytestmark = pytest.mark.fleet


KINDS = ("another", "another and its own", "nobody", "a host's user")


@pytest.mark.parametrize("names", KINDS)
def test_it_gets_none(secure: SecureSite, names: str) -> None:
    number = KINDS.index(names)
    board, thief = secure.board(f"named-{number}"), secure.board(f"named-{number}-thief")
    new, key = Caller(f"named-{number}-new"), Caller("").key
    csr = {
        "another": lambda: request_for(board.name, key),
        "another and its own": lambda: request(key, [thief.name, board.name]),
        "nobody": lambda: request_for(" ", key), "a host's user": lambda: request_for("_host", key),
    }[names]()  # fmt: skip
    token = secure.token(uses=9)
    with secure.unchanged(board.name, thief.name):
        by_certificate = secure.introduce(thief, csr=csr)
        assert (by_certificate.status, by_certificate.code) == (400, "wrong-device")
        by_token = secure.introduce(new, csr=csr, token=token)
        assert (by_token.status, by_token.code) == (400, "wrong-device")
    assert secure.certificates(new.name) == [] and secure.used(token) == 0
    secure.told("wrong-device", thief.address)
    secure.enrol(new, token)
    secure.renew(thief)
