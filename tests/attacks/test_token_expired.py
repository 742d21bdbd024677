"""A token is used after its time."""

import pytest
from tests.attacks.who import Caller, SecureSite
from tests.waiting import until

pytestmark = pytest.mark.fleet


def test_it_lets_nobody_in(secure: SecureSite) -> None:
    token, late = secure.token(uses=9, days=1e-7), Caller("late")
    until(lambda: secure.view(token).state == "expired", "the token's end")
    refused = secure.introduce(late, csr=late.csr(), token=token)
    assert (refused.status, refused.code) == (401, "token-spent")
    assert secure.certificates("late") == [] and secure.used(token) == 0
    secure.told("token-spent", late.address)
    secure.enrol(late, secure.token())
    assert secure.poll(late).status == 304
