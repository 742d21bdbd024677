"""Receivers as they are elsewhere: an HTTP server that verifies what it is sent, and an SMTP server."""

from __future__ import annotations

import base64
import email
import email.policy
import hashlib
import hmac
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from edgelift_fleet.messages.alerts import AlertMessage

KEY = "0123456789abcdef0123456789abcdef"
MESSAGE = AlertMessage(
    id="alert-1", event="begun", code="offline", severity="critical", site="farm", what="pi-7 is silent.",
    where="pi-7", since=1_795_000_000.0, todo="Look.", count=1, subjects=["pi-7"], at=1_795_000_900.0,
    link="https://fleet.example/devices/pi-7",
)  # fmt: skip


class Http:
    """What came to an HTTP receiver, and what it answers: `answers` one after the other, then 200 for ever.

    An answer is (status, headers, body); a status of 0 is no answer at all until `hanging` is set.
    """

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.came: list[tuple[str, dict[str, str], bytes]] = []
        self.hanging, self.somebody = threading.Event(), threading.Event()
        self.url = ""

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body in self.came]


def verify(headers: dict[str, str], body: bytes, key: str = KEY) -> str:
    """As a receiver does it by the specification alone; returns the message's id."""
    name, at = headers["webhook-id"], headers["webhook-timestamp"]
    wanted = hmac.new(key.encode(), f"{name}.{at}.".encode() + body, hashlib.sha256).digest()
    version, _, given = headers["webhook-signature"].partition(",")
    assert version == "v1" and hmac.compare_digest(base64.b64decode(given), wanted)
    assert json.loads(body)["data"]["id"] == name
    return name


@contextmanager
def listening_http(tls: tuple[Path, Path] | None = None) -> Iterator[Http]:
    """A receiver over HTTP, or HTTPS with a certificate and its key."""
    seen = Http()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.came.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            seen.somebody.set()
            status, headers, said = seen.answers.pop(0) if seen.answers else (200, {}, b"thank you")
            if not status:
                seen.hanging.wait()
                return
            self.send_response(status)
            for name, value in {"Content-Length": str(len(said)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # who asked went away
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    seen.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        seen.hanging.set()
        server.shutdown()
        server.server_close()
        thread.join()


class Mailbox:
    """The handler of an SMTP server: `mails` came, as (sender, recipients, message); it refuses who is in `refuses`."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, list[str], EmailMessage]] = []
        self.refuses: set[str] = set()
        self.answer = "250 OK"
        self.port = 0

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:
        if address in self.refuses:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        if self.answer.startswith("250"):
            mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
            assert isinstance(mail, EmailMessage)
            self.mails.append((envelope.mail_from, envelope.rcpt_tos, mail))
        return self.answer


@contextmanager
def listening_mail(
    tls: tuple[Path, Path] | None = None, *, starttls: bool = False, password: str = ""
) -> Iterator[Mailbox]:
    """An SMTP server: plain, with TLS from the first byte, or by STARTTLS; with a password it lets nobody else in."""
    box = Mailbox()
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)

    def judge(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"edgelift", password.encode())
        return AuthResult(success=right, handled=right)

    options: dict[str, Any] = {}
    if password:
        options = {"authenticator": judge, "auth_required": starttls, "auth_require_tls": starttls}
    if context is not None and starttls:
        options |= {"tls_context": context, "require_starttls": True}
    controller = _OnAnyPort(
        box, hostname="127.0.0.1", port=0, ssl_context=None if starttls else context, **options
    )
    controller.start()
    box.port = controller.port
    try:
        yield box
    finally:
        controller.stop(no_assert=True)


class _OnAnyPort(Controller):
    """aiosmtpd asks its own port whether it is up: 0 is none that can be asked."""

    def _trigger_server(self) -> None:
        """Ask the port that it was given."""
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()
