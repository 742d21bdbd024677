"""Simulated boards on a site that signs, and what signing costs it: nothing where nothing changed."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fleet.conftest import Server
from tests.fleet.direct import FACTS
from tests.fleet.in_process import api_of
from tests.fleet.test_simulate import living, take
from tests.fleet.trust.sites import sign

from edgelift_contract import codec
from edgelift_contract.errors import ContractError
from edgelift_contract.signed import NONCE_HEADER, SIGNED_MEDIA, Signed, pack_signed, unpack_signed
from edgelift_fleet.simulate.trusting import BoardTrust
from edgelift_fleet.site import load_site
from edgelift_fleet.trust.director import Director

pytestmark = pytest.mark.fleet


@pytest.fixture
def signing(site: Path, releases: dict[str, Path]) -> Path:
    sign(load_site(site), releases.values())
    return site


@pytest.fixture
def server(signing: Path, mosquitto_program: str) -> Iterator[Server]:
    with Server(signing) as made:
        yield made


def test_boards_take_signed_releases_over_both_links(server: Server) -> None:
    with living(server, 6) as boards:
        for number in (1, 2):
            take(server, f"digits@{number}")
        figures = boards.figures()
        assert figures.running == {"digits@2": 6} and figures.updates["committed"] == 12
        assert all(board.trust.nonce for board in boards.boards)
        assert set(figures.refused) <= {"not-fresh"}  # what a broker retained for the nonce before is a bell


def test_nothing_is_signed_where_nothing_changed(signing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signed: list[str] = []
    real = Director.sign

    def counted(director: Director, told: Any, *rest: Any, **more: Any) -> dict[str, bytes]:
        signed.append(told.device_id)
        return real(director, told, *rest, **more)

    monkeypatch.setattr(Director, "sign", counted)
    with api_of(signing) as api, api.fleet.revisions:
        names = [f"pi-{number}" for number in range(5)]
        api.boards.add(*names, facts=FACTS)
        nonces = {name: secrets.token_hex(16) for name in names}
        token = api.fleet.site.secret("enrolment-token")

        def poll(name: str, **headers: str) -> Any:
            mine = {"Authorization": f"Bearer {token}", NONCE_HEADER: nonces[name], **headers}
            return api.http.get(f"/v1/devices/{name}/desired", headers=mine)

        assert [poll(name).status_code for name in names] == [304] * 5 and signed == []
        for name in names:
            api.fleet.assignments.assign(name, "digits@1")
            api.fleet.revisions.ask(name)
        etags = {}
        for name in names:
            answer = poll(name)
            assert answer.headers["content-type"] == SIGNED_MEDIA
            unpack_signed(answer.content, device=name)
            etags[name] = answer.headers["etag"]
        assert signed == names  # once each
        for _ in range(20):
            assert {poll(name, **{"If-None-Match": etags[name]}).status_code for name in names} == {304}
        assert [poll(name).status_code for name in names] == [200] * 5  # an answer that was lost is given again
        assert signed == names


def of_board(signing: Path, change: Any = None, nonce: str = "") -> str:
    """The code by which a board refuses what was signed for it, changed on its way; empty where it takes it."""
    with api_of(signing) as api, api.fleet.revisions:
        api.boards.add("pi-1", facts=FACTS)
        api.boards.assignments.assign("pi-1", "digits@1")
        trust = BoardTrust()
        trust.learn(api.fleet.roots())
        handing = api.fleet.handing
        assert handing is not None
        body = api.fleet.revisions.ask("pi-1").body
        files = unpack_signed(handing.sign("pi-1", body, nonce or trust.nonce), device="pi-1").files
        if change is not None:
            files = change(files)
        before = trust.nonce
        try:
            opened = trust.open(pack_signed(Signed(schema=1, device="pi-1", files=files)), "pi-1")
        except ContractError as error:
            assert trust.nonce == before
            return error.code
        assert opened == body and trust.nonce != before
        return ""


def test_a_board_holds_what_it_can_without_a_key(signing: Path) -> None:
    def other(files: dict[str, str]) -> dict[str, str]:
        return {name: text.replace('"revision":1', '"revision":2') for name, text in files.items()}

    def neighbours(files: dict[str, str]) -> dict[str, str]:
        return {name: text.replace('"device_id":"pi-1"', '"device_id":"pi-2"') for name, text in files.items()}

    assert of_board(signing) == ""
    assert of_board(signing, other) == "digest-mismatch"
    assert of_board(signing, neighbours) == "wrong-device"
    assert of_board(signing, nonce=codec.digest(b"old")[:32]) == "not-fresh"
    nobody, unsigned = BoardTrust(), b'{"schema":1}'
    assert nobody.open(unsigned, "pi-1") == unsigned
    nobody.learn({"image": "x", "director": "y"})
    with pytest.raises(ContractError) as caught:
        nobody.open(unsigned, "pi-1")
    assert caught.value.code == "not-signed"
