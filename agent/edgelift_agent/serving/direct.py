"""The short way through the HTTP server for the request that matters: a quick model's inference.

uvicorn gives every request a scope, a task, an event, a timer and two writes to the socket; on the reference CNN that
is a quarter of what the server spends (ADR 8). An inference whose body has come whole, on a connection that stays
open, needs none of it: it is answered where its last byte was parsed, in one write. Every other request, and an
inference whose model takes long, is parked or has yet to be measured, goes uvicorn's way to the ASGI application,
which gives the same answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgelift_agent.serving.http import Headers, Target, inference_target
from edgelift_agent.serving.replies import Reply
from edgelift_agent.system.connections import BoundedProtocol

#: A longer body goes uvicorn's way, which reads it piece by piece and no further than its model can need, bytes.
LONGEST_BODY = 256 * 1024
#: A longer path is no slot's; it shall not be remembered either.
LONGEST_PATH = 512

#: Answers at once, or gives None: the request has to wait for something. See `InferenceApp.at_once`.
AtOnce = Callable[[Target, Headers, bytes], Reply | None]


class DirectProtocol(BoundedProtocol):
    """One connection."""

    def __init__(self, *args: Any, at_once: AtOnce, max_body_bytes: int, **options: Any) -> None:
        """Bind; what else uvicorn hands over is its own.

        Args:
            args: uvicorn's.
            at_once: the application's short way.
            max_body_bytes: a longer body is the application's to refuse.
            options: uvicorn's.
        """
        super().__init__(*args, **options)
        self._at_once, self._max_body_bytes = at_once, min(max_body_bytes, LONGEST_BODY)
        self._target: Target | None = None  # of the request that is being read, if it goes the short way
        self._given: Headers = {}
        self._pieces: list[bytes] = []

    def on_message_begin(self) -> None:
        """Called by the parser. What only uvicorn's way needs is made there."""
        self._reading, self._head_bytes, self.has_asked = "head", 0, True  # as `begin_reading`, without its call
        self._due = self.heard + self._bounds.request_s
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        """Called by the parser: choose the way."""
        if self.offers_upgrade:
            return
        self._given = dict(self.headers)
        if self._is_plain():
            self._target = inference_target(self.url)
        if self._target is None:
            self._go_uvicorns_way()
        else:
            self._reading = "body"  # short enough to come within the time that any request has

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        if self._target is not None:
            self._pieces.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Called by the parser: answer, or hand the whole request over."""
        if self._target is None:
            super().on_message_complete()
            return
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        try:
            reply = self._at_once(self._target, self._given, body)
        except Exception:  # noqa: BLE001 - a fault of ours: on uvicorn's way it is logged and answered with 500
            reply = None
        if reply is None:
            self._go_uvicorns_way()
            super().on_message_complete()
            return
        self._target, self._pieces, self._reading = None, [], ""
        self.idle_since = self.heard
        self.transport.write(reply.to_bytes())
        self.server_state.total_requests += 1

    def shutdown(self) -> None:
        """Called by the server when it ends: a request that is half read is still answered, uvicorn's way."""
        if self._target is not None:
            self._go_uvicorns_way()
        super().shutdown()

    def _is_plain(self) -> bool:
        """A POST of known length, within the limit, on a connection that is free, stays open and takes an answer."""
        parser, length = self.parser, self._given.get(b"content-length", b"")
        return (
            parser.get_method() == b"POST"
            and len(self.url) <= LONGEST_PATH
            and length.isdigit()
            and len(length) < 19
            and int(length) <= self._max_body_bytes
            and not self.expect_100_continue
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not self.flow.write_paused
            and (self.cycle is None or self.cycle.response_complete)
        )

    def _go_uvicorns_way(self) -> None:
        url, headers, expect, pieces = self.url, self.headers, self.expect_100_continue, self._pieces
        self._target, self._pieces = None, []
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers.extend(headers)
        super().on_headers_complete()
        for piece in pieces:
            super().on_body(piece)
