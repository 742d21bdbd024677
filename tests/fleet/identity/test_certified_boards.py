"""Simulated boards on a site whose devices have certificates: they enrol by a token, and come again by what they have."""

import asyncio
import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fleet.conftest import Server, edgelift
from tests.fleet.identity.sites import make_token, operator, secure
from tests.fleet.test_simulate import QUICK, living, simulate

from edgelift_contract.assignment import Policy
from edgelift_contract.errors import TransportError
from edgelift_contract.identity import parse_token
from edgelift_fleet.first_contact import offered_authorities, pinned_authority
from edgelift_fleet.messages import RolloutRequest, RolloutView, TokenView
from edgelift_fleet.simulate.http import Address, HttpConnection
from edgelift_fleet.testing import wait_until
from edgelift_fleet.tls_buffers import BUFFER_BYTES, keep_tls_buffers_small

pytestmark = pytest.mark.fleet


@pytest.fixture
def server(site: Path, mosquitto_program: str) -> Iterator[Server]:
    secure(site)
    with Server(site) as made:
        yield made


def address(server: Server, boards: Path, uses: int) -> Address:
    token = parse_token(make_token(server, uses=uses))
    boards.mkdir(exist_ok=True)
    return Address.certified(token.url, token.secret, pinned_authority(token.url, token.pin), boards)


def test_boards_enrol_take_a_release_and_come_again_without_a_token(server: Server, tmp_path: Path) -> None:
    to = address(server, tmp_path / "boards", 6)
    with living(server, 6, QUICK, to) as boards:
        policy = Policy(probation_s=0.0, probation_min_requests=0)
        wanted = RolloutRequest("digits@1", "all", ["100%"], policy=policy)
        made = operator(server).post("/v1/rollouts", wanted, RolloutView)
        wait_until(
            lambda: operator(server).get(f"/v1/rollouts/{made.id}", RolloutView).state == "done",
            what="the release",
        )
        assert boards.figures().running == {"digits@1": 6} and not boards.figures().refused
    kept = sorted((tmp_path / "boards").iterdir())
    assert len(kept) == 6 and {path.stat().st_mode & 0o777 for path in kept} == {0o600}
    before = [path.read_bytes() for path in kept]
    without = Address.certified(server.url, "", to.authorities, tmp_path / "boards")
    with living(server, 6, QUICK, without) as boards:
        assert not boards.figures().refused
    assert [path.read_bytes() for path in kept] == before
    assert [one.used for one in operator(server).get("/v1/tokens", list[TokenView])] == [6]


def test_boards_that_lost_their_certificates_are_told_who_has_them(server: Server, tmp_path: Path) -> None:
    with living(server, 1, QUICK, address(server, tmp_path / "a", 1)):
        pass
    with living(server, 1, QUICK, address(server, tmp_path / "b", 1), connected=0) as boards:
        wait_until(lambda: boards.figures().refused.get("already-enrolled"), what="the refusal")


def test_the_command_makes_a_token_and_takes_it_back(server: Server) -> None:
    done = edgelift("simulate", "-n", "2", "--for", "2s", "--site", server.site, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["enrolled"] >= 2, done.stderr
    (token,) = operator(server).get("/v1/tokens", list[TokenView])
    assert (token.state, token.uses, token.note) == ("revoked", 2, "edgelift simulate")
    assert 300 < token.expires_at - token.made_at < 900  # what a kill -9 leaves behind ends soon
    assert len(list((server.site / "run" / "boards").iterdir())) == 2


def test_the_command_fails_when_boards_never_got_in(server: Server, tmp_path: Path) -> None:
    with living(server, 2, QUICK, address(server, tmp_path / "a", 2)):
        pass
    words = ["-n", "3", "--site", str(server.site), "--keep", str(tmp_path / "b"), "--json"]
    done = simulate(words, lambda line: line.startswith("1 of 3") and "already-enrolled" in line)
    assert done.returncode == 1 and json.loads(done.stdout)["kept_out"] == {"already-enrolled": 2}
    *_, last, error = done.stderr.splitlines()
    assert last.startswith("1 of 3 boards connected")
    said = "2 of 3 boards never got in: 2 already-enrolled. Boards of these names came before"
    assert said in error and "(already-enrolled)" in error, error


def test_who_answers_under_another_authority_is_told_apart(server: Server) -> None:
    (pin,) = offered_authorities(server.url)
    assert "BEGIN CERTIFICATE" in pinned_authority(server.url, pin)
    with pytest.raises(TransportError) as refused:
        pinned_authority(server.url, "00" * 32)
    assert refused.value.code == "tls-failed"


def test_a_tls_connection_has_a_buffer_of_one_record(server: Server) -> None:
    keep_tls_buffers_small()

    async def buffer() -> int:
        to = Address.certified(server.url, "", next(iter(offered_authorities(server.url).values())), Path())
        connection = HttpConnection(to)
        assert (await connection.ask("GET", "/v1/authority")).status == 200
        transport = connection._wire._transport  # type: ignore[union-attr]  # it is connected
        size = len(transport._ssl_protocol._ssl_buffer)
        assert isinstance(transport.get_extra_info("ssl_object"), ssl.SSLObject)
        connection.close()
        return size

    assert asyncio.run(buffer()) == BUFFER_BYTES
