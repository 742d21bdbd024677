"""Heads of requests that a proxy in front could read otherwise than the server, and answers that keep their order."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.conftest import Server
from tests.waiting import LONG_S

pytestmark = pytest.mark.fleet

BODY = b'{"release":"digits@1","to":"all","waves":["100%"]}'
HOST = b"Host: x\r\n"


@pytest.fixture(scope="module")
def server(idle_site: Path) -> Iterator[Server]:
    with Server(idle_site, "--broker", "none") as made:
        yield made


def answers(server: Server, *pieces: bytes) -> list[tuple[int, dict]]:
    """Status and body of all that comes back for these pieces, up to the connection's end."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=LONG_S) as link:
        for piece in pieces:
            link.sendall(piece)
        read, found = link.makefile("rb"), []
        while line := read.readline():
            length = 0
            while (header := read.readline()) not in (b"\r\n", b""):
                name, _, value = header.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            found.append((int(line.split()[1]), json.loads(read.read(length) or b"{}")))
        return found


def token(server: Server) -> bytes:
    return b"Authorization: Bearer " + server.operator.encode() + b"\r\n"


def get(server: Server, path: bytes = b"/v1/devices", head: bytes = b"") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + HOST + token(server) + head + b"\r\n"


def one(server: Server, *pieces: bytes) -> tuple[int, str, str]:
    ((status, said),) = answers(server, *pieces)
    return status, said.get("code", ""), said.get("detail", "")


LAST = b"Connection: close\r\n"


def test_a_head_that_says_two_things_is_refused(server: Server) -> None:
    plain = get(server, head=LAST)
    assert answers(server, plain)[0][0] == 200
    assert answers(server, plain.replace(HOST, b"").replace(b"/1.1", b"/1.0"))[0][0] == 200
    for data, says in (
        (plain.replace(HOST, b""), "names no host"),
        (plain.replace(HOST, HOST + b"Host: y\r\n"), "host comes twice"),
        (plain.replace(HOST, HOST + b"Authorization: Bearer x\r\n"), "authorization comes twice"),
        (plain.replace(HOST, HOST + token(server)), "authorization comes twice"),
        (plain.replace(b"devices", b"devices?tag=\xc3\xa9"), "no request"),
    ):
        status, code, said = one(server, data)
        assert (status, code) == (400, "malformed") and says in said, data


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"gzip\r\nTransfer-Encoding: chunked", b"chunked, chunked"])
def test_a_body_in_a_coding_that_nobody_undoes_is_refused(server: Server, coding: bytes) -> None:
    head = b"POST /v1/rollouts/preview HTTP/1.1\r\n" + HOST + token(server) + LAST + b"Transfer-Encoding: "
    rest = b"\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    assert answers(server, head + b"Chunked" + rest)[0][0] == 200
    assert one(server, head + coding + rest)[:2] == (400, "malformed")


@pytest.mark.parametrize(
    "fields", [b"X: " + b"y" * 40_000, b"\r\n".join(b"X-%d: %090d" % (n, n) for n in range(400))]
)
def test_a_long_head_is_refused_in_one_piece_as_in_several(server: Server, fields: bytes) -> None:
    data = get(server, head=fields + b"\r\n" + LAST)
    assert one(server, data)[:2] == (431, "too-large")
    assert one(server, data[:20_000], data[20_000:])[:2] == (431, "too-large")
    assert one(server, get(server, b"/v1/devices?to=" + b"a" * 40_000))[:2] == (431, "too-large")


def test_requests_behind_each_other_are_answered_in_order(server: Server) -> None:
    many = get(server, head=b"X: " + b"y" * 200 + b"\r\n") * 150  # more than one head may have
    last = get(server, b"/v1/nothing", LAST)
    found = answers(server, many + last[:40], last[40:])
    assert [status for status, _ in found] == [200] * 150 + [404]


@pytest.mark.parametrize(
    "odd",
    [b"hello\r\n\r\n", b"GET /v1/devices HTTP/1.1\r\n\r\n", b"GET /" + b"y" * 40_000 + b" HTTP/1.1\r\n\r\n"],
)  # fmt: skip
def test_what_is_no_request_is_not_answered_before_a_request_that_came_first(server: Server, odd: bytes) -> None:
    found = answers(server, get(server, b"/v1/releases") + odd)
    assert [status for status, _ in found] == [200]


def test_a_header_behind_a_body_means_nothing(server: Server) -> None:
    """A key that came so was taken or not, as it raced with the reading of the body; a token let in."""
    head = b"POST /v1/rollouts/preview HTTP/1.1\r\n" + HOST + LAST + b"Transfer-Encoding: chunked\r\n\r\n"
    body = b"%x\r\n%b\r\n0\r\n" % (len(BODY), BODY)
    assert answers(server, head + body + token(server) + b"\r\n")[0][0] == 401


OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"


def test_an_offer_of_another_protocol_is_passed_over(server: Server) -> None:
    """As Java's own client makes it with every request: its body was lost, and so was the next request."""
    head = b"POST /v1/rollouts/preview HTTP/1.1\r\n" + HOST + token(server) + OFFER
    short = head + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    offered = get(server, head=OFFER)
    found = answers(server, short + chunked + offered * 3 + get(server, b"/v1/nothing", LAST))
    assert [status for status, _ in found] == [200] * 5 + [404]
    assert found[0][1]["release"] == found[1][1]["release"] == "digits@1"


@pytest.mark.parametrize("line", [b"CONNECT a:1 HTTP/1.1", b"GET http://a HTTP/1.1"])
def test_a_target_without_a_path_is_answered(server: Server, line: bytes) -> None:
    assert one(server, line + b"\r\n" + HOST + b"\r\n")[:2] == (400, "malformed")
