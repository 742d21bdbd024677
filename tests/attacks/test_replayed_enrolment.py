"""An enrolment is played back: the request, to the control plane; its answer, to the device."""

from pathlib import Path

import pytest
from tests.attacks.enrolled import DEVICE, Enrolled
from tests.attacks.false_host import FalseHost
from tests.attacks.who import Caller, SecureSite

from edgelift_agent.identity.keys import request_for
from edgelift_agent.link.http import HttpTransport
from edgelift_contract import codec
from edgelift_contract.enrol import EnrolReply, EnrolRequest
from edgelift_contract.errors import EdgeliftError
from edgelift_contract.replies import MARK
from edgelift_contract.report import DeviceFacts
from edgelift_fleet.identity.authority import Authority

pytestmark = pytest.mark.fleet


def test_a_request_that_is_sent_again_takes_nothing_from_who_made_it(secure: SecureSite) -> None:
    """Who has a token and a device's request gets the device's certificate without its key: worth nothing; it is the one
    that there was, so nothing is kept of it, and the device renews as ever."""
    token, board, thief = secure.token(uses=9), Caller("replayed"), Caller("replayed")
    csr = board.csr()
    secure.enrol(board, token, csr=csr)
    gained = secure.introduce(thief, csr=csr, token=token)
    assert gained.status == 200 and secure.used(token) == 1
    assert len(secure.certificates("replayed")) == 1
    assert secure.poll(thief).code == "not-authorised"  # it has no key to show it with
    assert secure.poll(board).status == 304
    secure.renew(board)
    again = secure.introduce(thief, csr=csr, token=token)  # its key is an old one by now
    assert (again.status, again.code) == (409, "already-enrolled")
    secure.told("already-enrolled", thief.address)
    secure.renew(board)


def test_an_old_answer_gives_a_device_nothing(tmp_path: Path) -> None:
    authority = Authority.make("farm", 1_800_000_000.0)
    device = Enrolled(tmp_path, authority, "", "https://farm:8470")
    identity = device.started()
    old = device.take(identity)
    device.take(identity)
    way = identity.way()
    assert identity.take(old, device.url) is None  # nothing was asked for
    identity.want()
    wanted = device.certify(identity.request())
    for given in (old, device.certify(request_for(DEVICE, Caller(DEVICE).key))):
        with pytest.raises(EdgeliftError) as caught:
            identity.take(given, "https://evil:1")
        assert caught.value.code == "state-damaged" and identity.way() == way
    assert identity.take(wanted, device.url) is not None
    identity.settle()
    new = identity.way()
    assert new is not None and way is not None and new.number > way.number and new.url == way.url


def test_an_answer_for_another_device_is_not_the_hosts(tmp_path: Path) -> None:
    authority = Authority.make("farm", 1_800_000_000.0)
    with FalseHost() as host:
        reply = EnrolReply(schema=1, device="pi-2")
        host.answer = lambda *_: (
            200, {"Content-Type": "application/json", MARK: "1"}, codec.canonical_json(reply)
        )  # fmt: skip
        asked = EnrolRequest(schema=1, device=DEVICE, facts=DeviceFacts("arm64-neon"))
        with pytest.raises(EdgeliftError) as caught:
            HttpTransport(host.url, "token", DEVICE).enrol(asked)
        assert caught.value.code == "intercepted" and authority.pin
