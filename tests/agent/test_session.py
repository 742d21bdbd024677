"""Connections to hosts by the environment's proxy: asked by the name and the password in its URL, told by its own words."""

from __future__ import annotations

import base64
import socket
import threading

import pytest
from tests.waiting import LONG_S
from urllib3 import Timeout

from edgelift_agent.link.bounded import Watch
from edgelift_agent.link.causes import failed_connection
from edgelift_agent.link.session import FAULTS, HttpSession

HOST = "https://host.example"


def refuse(listening: socket.socket, heard: list[bytes]) -> None:
    """Answer one request as a proxy that lets nobody through."""
    connection, _ = listening.accept()
    with connection, connection.makefile("rb") as lines:
        heard += iter(lambda: lines.readline().strip(), b"")
        connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    ("said", "shown"), [("", None), ("anna:a%3Ab%40c@", b"anna:a:b@c"), ("anna@", b"anna:")], ids=str
)
def test_who_asks_the_proxy(monkeypatch: pytest.MonkeyPatch, said: str, shown: bytes | None) -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening, HttpSession(Watch()) as session:
        proxy = threading.Thread(target=refuse, args=(listening, heard))
        proxy.start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://{said}127.0.0.1:{listening.getsockname()[1]}")
        with (
            pytest.raises(FAULTS) as caught,
            session.ask("GET", HOST, timeout=Timeout(connect=LONG_S, read=LONG_S)),
        ):
            pass
        proxy.join()
    assert heard[0].startswith(b"CONNECT host.example:443 ")
    asked = [line.partition(b": ")[2] for line in heard if line.lower().startswith(b"proxy-authorization:")]
    assert asked == ([] if shown is None else [b"Basic " + base64.b64encode(shown)])
    told = failed_connection(caught.value, HOST)
    assert told.code == "unreachable" and "by the proxy of HTTPS_PROXY" in told.message and "407" in told.message


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "http://", "nonsense://x", "http://[::1"])
def test_what_is_no_proxy_is_a_fault_that_is_told(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with (
        HttpSession(Watch()) as session,
        pytest.raises(FAULTS) as caught,
        session.ask("GET", HOST, timeout=Timeout(connect=1, read=1)),
    ):
        pass
    assert failed_connection(caught.value, HOST).code in ("unreachable", "name-unresolved")
