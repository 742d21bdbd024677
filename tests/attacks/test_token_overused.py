"""More devices than a token is for come by it, one after the other and at the very same time."""

import threading

import pytest
from tests.attacks.who import Caller, Said, SecureSite

pytestmark = pytest.mark.fleet


def test_of_six_at_the_very_same_time_as_many_come_as_may(secure: SecureSite) -> None:
    token, callers = secure.token(uses=2), [Caller(f"overused-{number}") for number in range(6)]
    requests, gate = [caller.csr() for caller in callers], threading.Barrier(6)
    answers: dict[str, Said] = {}

    def come(caller: Caller, csr: str) -> None:
        gate.wait()
        answers[caller.name] = secure.introduce(caller, csr=csr, token=token)

    threads = [threading.Thread(target=come, args=one) for one in zip(callers, requests, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said.code for said in answers.values()) == ["", "", *["token-spent"] * 4]
    assert (secure.view(token).state, secure.used(token)) == ("spent", 2)
    late = [caller for caller in callers if answers[caller.name].code]
    assert [secure.certificates(caller.name) for caller in late] == [[]] * 4
    secure.told("token-spent", late[0].address)
    secure.enrol(late[0], secure.token())
    assert secure.poll(late[0]).status == 304
