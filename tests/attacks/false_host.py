"""What answers in the control plane's place, over TLS or in the clear, and keeps what it was sent."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from edgelift_fleet.identity.authority import Authority

#: Status, headers, body.
Answer = tuple[int, dict[str, str], bytes]


class FalseHost:
    """A context; `answer` may be changed at any time.

    Attributes:
        answer: method, path → what is answered.
        heard: each request that came, whole as far as its headers go.
    """

    def __init__(self, folder: Path | None = None, authority: Authority | None = None) -> None:
        """Over TLS, with a certificate of the `authority`, where there is a folder for it; else in the clear."""
        self.answer: Callable[[str, str], Answer] = lambda _method, _path: (404, {}, b"")
        self.heard: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._scheme = "http"
        if folder is not None and authority is not None:
            made, key = authority.issue_own("edgelift", ("127.0.0.1",), time.time())
            file = folder / "false-host.pem"
            file.write_bytes(key + made.pem.encode())
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(file)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FalseHost:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(host: FalseHost) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

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

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
