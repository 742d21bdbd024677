"""Requests that offer to go on in another protocol, as Java's own HTTP client does: answered as without the offer."""

import time

import pytest
from tests.simulators.server import GOOD, PATH, Site, request

JAVA = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


def in_chunks(body: bytes) -> bytes:
    head = f"POST {PATH} HTTP/1.1\r\nHost: a\r\n{JAVA}Transfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize("offer", ["short", "in chunks", "in pieces"])
def test_the_body_belongs_to_the_request(site: Site, offer: str) -> None:
    data = in_chunks(GOOD) if offer == "in chunks" else request(extra=JAVA)
    with site.connect() as client:
        plain = client.ask(request())
        if offer != "in pieces":
            assert client.ask(data)[::2] == plain[::2]
        else:
            for start in range(0, len(data), 7):
                client.send(data[start : start + 7])
                time.sleep(0.001)
            assert client.answer()[::2] == plain[::2]
        assert client.ask(request())[::2] == plain[::2]


def test_a_closing_connection_stays_one(site: Site) -> None:
    with site.connect() as client:
        assert client.ask(request(extra="Connection: Upgrade, close\r\nUpgrade: h2c\r\n"))[0] == 200
        assert client.line() == ""


def test_thousands_at_once_are_answered_in_order(site: Site) -> None:
    with site.connect() as client:
        client.send(LIVE * 2000 + request(extra=JAVA) + request(b"{"))
        assert [client.answer()[0] for _ in range(2002)] == [200] * 2001 + [400]


def test_nothing_is_connected_to(site: Site) -> None:
    with site.connect() as client:
        client.send(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n" + LIVE)
        assert client.answer()[0] == 400
        assert client.line() == ""
