"""A token that was for one device is used by another, or by whoever wants to be the first."""

import pytest
from tests.attacks.who import Caller, SecureSite

pytestmark = pytest.mark.fleet


def test_another_device_does_not_come_by_a_token_that_is_spent(secure: SecureSite) -> None:
    token, board, thief = secure.token(), Caller("reused"), Caller("reused-thief")
    secure.enrol(board, token)
    with secure.unchanged("reused"):
        refused = secure.introduce(thief, csr=thief.csr(), token=token)
        assert (refused.status, refused.code) == (401, "token-spent")
    assert secure.certificates("reused-thief") == [] and secure.used(token) == 1
    secure.told("token-spent", thief.address)
    assert secure.poll(board).status == 304
    secure.enrol(thief, secure.token())


def test_who_has_a_token_is_not_the_device_that_came_by_it(secure: SecureSite) -> None:
    token, board, thief = secure.token(uses=5), Caller("reused-name"), Caller("reused-name")
    secure.enrol(board, token)
    with secure.unchanged("reused-name"):
        refused = secure.introduce(thief, csr=thief.csr(), token=token)
        assert (refused.status, refused.code) == (409, "already-enrolled")
    assert secure.used(token) == 1
    secure.told("already-enrolled", thief.address)
    identity = secure.detail("reused-name").identity
    assert identity is not None
    assert (identity.address, identity.contested_by) == (board.address, thief.address)
    secure.renew(board)
