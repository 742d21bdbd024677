"""One board's keep-alive connection to the control plane, in an event loop: one request at a time.

Thousands of boards share a core with the very server that they test, so a request must cost little: a poll takes 37 µs of
a core, with httptools as the parser, where aiohttp's client takes 72; and each board has connections of its own, as
boards do, not whichever of a pool is free.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httptools

from edgelift_contract.errors import DeviceError
from edgelift_fleet.simulate.identity import towards


@dataclass
class HttpAnswer:
    """A whole answer; header names in lower case."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Address:
    """Where the control plane is, and what lets a board in.

    Attributes:
        host: name or address.
        port: of it.
        token: shown as bearer: the one that all devices share, or an enrolment token's secret; empty for none.
        tls: None for plain HTTP.
        authorities: who may vouch for a control plane that gives its devices certificates (PEM); empty where the token
            is all that lets a board in.
        boards: folder of the boards' certificates, where there are `authorities`.
    """

    host: str
    port: int
    token: str
    tls: ssl.SSLContext | None = None
    authorities: str = ""
    boards: Path | None = None

    @classmethod
    def of(cls, url: str, token: str, *, ca_file: str = "") -> Address:
        """From `http://…` or `https://…`; `ca_file` holds who may vouch for the server.

        Raises:
            DeviceError: `bad-config` when that file can't be used.
        """
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        try:
            tls = ssl.create_default_context(cafile=ca_file or None) if secure else None
        except OSError as error:  # of ssl's own kind, too
            raise DeviceError("bad-config", f"The CA file {ca_file!r} cannot be used: {error}.") from error
        return cls(parts.hostname or "", parts.port or (443 if secure else 80), token, tls)

    @classmethod
    def certified(cls, url: str, token: str, authorities: str, boards: Path) -> Address:
        """Of a control plane (`https://…`) whose devices have certificates; the attributes say what is needed."""
        parts = urlsplit(url)
        return cls(parts.hostname or "", parts.port or 443, token, towards(authorities), authorities, boards)

    @property
    def head(self) -> str:
        """The headers that every request begins with."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        bearer = f"Authorization: Bearer {self.token}\r\n" if self.token else ""
        return f"Host: {name}:{self.port}\r\n{bearer}"

    def by(self, tls: ssl.SSLContext) -> Address:
        """The same, by a board's own certificate."""
        return replace(self, token="", tls=tls)


def source_of(address: Address, board: str) -> str:
    """Whence a simulated board comes, where the control plane is on this machine: one of 64 of its loopback addresses.

    An address has half a server's places at most, so that none crowds out the others: a fleet's boards have many.
    """
    return f"127.0.1.{1 + zlib.crc32(board.encode()) % 64}" if address.host == "127.0.0.1" else ""


class HttpConnection:
    """To one address; made when it is first needed, and anew after it broke. Requests wait for their turn."""

    def __init__(self, address: Address, *, patience_s: float = 60.0, source: str = "") -> None:
        """Bind; `patience_s` is how long an answer may take beyond the time that the request itself asks to wait.

        `source` is the address to come from; any when empty.
        """
        self._address, self._patience_s = address, patience_s
        self._source = (source, 0) if source else None
        self._head = address.head
        self._wire: _Wire | None = None
        self._turn = asyncio.Lock()

    def readdress(self, address: Address) -> None:
        """Go there from now on."""
        self.close()
        self._address, self._head = address, address.head

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: Sequence[str] = (), *, wait_s: float = 0.0
    ) -> HttpAnswer:
        """Send a request and read its answer; raises OSError (a time-out included) when the link fails."""
        length = f"Content-Length: {len(body)}\r\n" if method != "GET" else ""
        lines = "".join(f"{line}\r\n" for line in headers)
        data = f"{method} {path} HTTP/1.1\r\n{self._head}{length}{lines}\r\n".encode() + body
        async with self._turn:
            used = self._wire is not None and not self._wire.lost
            try:
                return await self._once(data, wait_s)
            except ConnectionResetError:
                if not used:
                    raise
                return await self._once(data, wait_s)  # the server closed it while it was idle

    async def _once(self, data: bytes, wait_s: float) -> HttpAnswer:
        if self._wire is None or self._wire.lost:
            self._wire = await self._connect()
        wire = self._wire
        try:
            return await asyncio.wait_for(wire.exchange(data), wait_s + self._patience_s)
        except asyncio.TimeoutError as error:
            self.close()
            raise ConnectionError("the server did not answer in time") from error
        except asyncio.CancelledError:
            self.close()  # its answer would be taken for the next one's
            raise

    async def _connect(self) -> _Wire:
        loop = asyncio.get_running_loop()
        to = self._address
        made = loop.create_connection(_Wire, to.host, to.port, ssl=to.tls, local_addr=self._source)
        try:
            _, wire = await asyncio.wait_for(made, self._patience_s)
        except asyncio.TimeoutError as error:
            raise ConnectionError("no connection could be made in time") from error
        return wire

    def close(self) -> None:
        """Drop it, whatever is under way."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()


class _Wire(asyncio.Protocol):
    """A connection that carries one exchange after the other; httptools calls the `on_…` methods."""

    def __init__(self) -> None:
        self.lost = False
        self._transport: Any = None
        self._parser: Any = None
        self._answer = HttpAnswer()
        self._pieces: list[bytes] = []
        self._done: asyncio.Future[HttpAnswer] | None = None

    async def exchange(self, data: bytes) -> HttpAnswer:
        if self.lost:
            raise ConnectionResetError("the connection is closed")
        self._answer, self._pieces = HttpAnswer(), []
        self._parser = httptools.HttpResponseParser(self)
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return await self._done

    def close(self) -> None:
        self.lost = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, AttributeError) as error:
            self.close()
            self._fail(ConnectionError(f"not an answer: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self._fail(ConnectionResetError(str(error) if error else "the server closed the connection"))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        answer, done, parser = self._answer, self._done, self._parser
        answer.status, answer.body = parser.get_status_code(), b"".join(self._pieces)
        if not parser.should_keep_alive():
            self.close()
        if done is not None and not done.done():
            done.set_result(answer)

    def _fail(self, error: Exception) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)
