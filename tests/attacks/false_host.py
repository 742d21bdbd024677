"""What answers in the control plane's place, over TLS or in the clear, and keeps what it was sent."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path

from tests.simulators.loopback_server import LoopbackServer, QuietHandler

from edgelift_fleet.identity.authority import Authority

#: Status, headers, body.
Answer = tuple[int, dict[str, str], bytes]


class FalseHost(LoopbackServer):
    """A context; `answer` may be changed at any time.

    Attributes:
        answer: method, path → what is answered.
        heard: each request that came, whole as far as its headers go.
    """

    def __init__(self, folder: Path | None = None, authority: Authority | None = None) -> None:
        """Over TLS, with a certificate of the `authority`, where there is a folder for it; else in the clear."""
        self.answer: Callable[[str, str], Answer] = lambda _method, _path: (404, {}, b"")
        self.heard: list[str] = []
        tls = None
        if folder is not None and authority is not None:
            made, key = authority.issue_own("edgelift", ("127.0.0.1",), time.time())
            file = folder / "false-host.pem"
            file.write_bytes(key + made.pem.encode())
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(file)
        super().__init__(_handler(self), tls)


def _handler(host: FalseHost) -> type[QuietHandler]:
    class Handler(QuietHandler):
        def _any(self) -> None:
            host.heard.append(f"{self.command} {self.path}\n{self.headers}")
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, body = host.answer(self.command, self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = _any

    return Handler
