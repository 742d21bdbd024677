"""A device was taken out of the site, and goes on as if it were in: by what stands already, and anew."""

import socket

import pytest
from tests.attacks.who import Caller, SecureSite, Session, enters
from tests.fleet.identity.sites import operator

from edgelift_contract import routes
from edgelift_fleet.messages import IdentityEnded

pytestmark = pytest.mark.fleet


def test_what_stands_ends_and_nothing_of_it_comes_back(secure: SecureSite) -> None:
    board, neighbour = secure.board("taken-out"), secure.board("taken-out-neighbour")
    access = secure.broker(board)
    with (
        secure.connected(board) as connection,
        Session(secure, board, access) as session,
        Session(secure, neighbour, access) as other,
    ):
        assert session.is_in and other.is_in
        connection.request("GET", routes.desired_path(board.name))
        assert connection.getresponse().status == 304
        before = secure.record(board.name)
        ended = operator(secure.server).post(f"/v1/devices/{board.name}/remove", {}, IdentityEnded)
        assert ended.ended == 1
        session.ends()
        assert ended_by_the_host(connection.sock)
        assert other.client.is_connected()
    after = secure.record(board.name)
    assert after.pop("identity")["state"] == "removed" and before.pop("identity")["state"] == "valid"
    assert after == before
    refuses_all(secure, board)
    assert not enters(secure, board, access) and enters(secure, neighbour, access)
    secure.told("identity-revoked", board.address)
    assert secure.poll(neighbour).status == 304

    operator(secure.server).post(f"/v1/devices/{board.name}/replace", {}, IdentityEnded)
    refuses_all(secure, board)
    new = Caller(board.name)
    secure.enrol(new, secure.token())
    assert secure.poll(new).status == 304 and enters(secure, new, access)


def ended_by_the_host(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except OSError:
        return True


def refuses_all(secure: SecureSite, board: Caller) -> None:
    with secure.unchanged(board.name):
        for method, path in (
            ("GET", routes.desired_path(board.name)), ("PUT", routes.report_path(board.name)),
            ("POST", routes.telemetry_path(board.name)), ("GET", routes.blob_path("0" * 64)),
        ):  # fmt: skip
            refused = secure.ask(board, method, path, {} if method != "GET" else None)
            assert (refused.status, refused.code) == (403, "identity-revoked"), path
        for csr in ("", board.csr(), Caller(board.name).csr()):
            refused = secure.introduce(board, csr=csr)
            assert (refused.status, refused.code) == (403, "identity-revoked")
        by_token = secure.introduce(board, csr=board.csr(), token=secure.token())
        assert (by_token.status, by_token.code) == (403, "identity-revoked")
