"""A token that was taken back is used, also by whoever showed it a moment before."""

import time
from contextlib import closing

import pytest
from tests.attacks.who import Caller, SecureSite
from tests.fleet.identity.sites import operator

from edgelift_contract.errors import TransportError
from edgelift_contract.identity import parse_token
from edgelift_fleet.db import Database
from edgelift_fleet.identity.identities import Identities
from edgelift_fleet.messages import TokenView

pytestmark = pytest.mark.fleet


def test_nobody_comes_by_it_any_more_and_who_came_stays(secure: SecureSite) -> None:
    token, board, thief = secure.token(uses=9), Caller("came-before"), Caller("came-after")
    secure.enrol(board, token)
    operator(secure.server).delete(f"/v1/tokens/{secure.view(token).id}", TokenView)
    with secure.unchanged("came-before"):
        refused = secure.introduce(thief, csr=thief.csr(), token=token)
        assert (refused.status, refused.code) == (401, "token-spent")
    assert secure.certificates("came-after") == [] and secure.used(token) == 1
    assert secure.view(token).state == "revoked"
    secure.told("token-spent", thief.address)
    secure.renew(board)
    secure.enrol(thief, secure.token())


def test_it_is_looked_at_once_more_when_it_is_spent(secure: SecureSite) -> None:
    token, thief = secure.token(uses=9), Caller("in-between")
    with closing(Database(secure.site.database)) as db:
        identities = Identities(secure.site, db, time.time)
        shown = identities.show(parse_token(token).secret)
        identities.revoke_token(shown.token)
        with pytest.raises(TransportError) as caught:
            identities.give(thief.name, thief.csr(), shown, thief.address, plain=False)
    assert caught.value.code == "token-spent"
    assert secure.certificates("in-between") == [] and secure.used(token) == 0
