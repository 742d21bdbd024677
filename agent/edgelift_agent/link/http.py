"""HTTP to the host: enrolment, assignment by long poll, reports, telemetry, blobs with ranges.

Whose word an answer is stands in `answers`; here it is fetched within bounds and, when it is the wanted one, parsed:
a report or a batch counts as delivered only by the host's own reply to this very message.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import msgspec
from urllib3 import BaseHTTPResponse, Timeout

from edgelift_agent.link.answers import Answer, Route, check_blob, failure, is_wanted
from edgelift_agent.link.bounded import Watch, alarm, read_body, read_pieces, read_start
from edgelift_agent.link.causes import failed_connection
from edgelift_agent.link.session import FAULTS, HttpSession
from edgelift_contract import codec, routes
from edgelift_contract.bundle import BUNDLE_HEADER, BundleReply
from edgelift_contract.enrol import EnrolReply, EnrolRequest
from edgelift_contract.errors import ContractError, TransportError
from edgelift_contract.replies import (
    ASSIGNMENT_HEADER,
    EPOCH_HEADER,
    MAX_REPLY_BYTES,
    BatchReply,
    ReportReply,
)
from edgelift_contract.signed import MAX_SIGNED_BYTES, NONCE_HEADER

_T = TypeVar("_T")

#: A link that takes less is given up with what is long, bytes a second: a bundle has minutes.
LEAST_BYTES_PER_S = 8 * 1024

_JSON = {"Content-Type": "application/json"}


class _Sent(msgspec.Struct):
    """What tells a message from others of its kind."""

    epoch: str
    sequence: int = 0
    items: list[_Numbered] = []


class _Numbered(msgspec.Struct):
    seq: int


class Calling(Protocol):
    """How the host is called by this device's certificate; `identity.Way` is it."""

    @property
    def url(self) -> str:
        """Where."""

    @property
    def tls(self) -> ssl.SSLContext:
        """By what."""

    @property
    def vet(self) -> Callable[[Any], None]:
        """Looks at a connection that stands."""

    @property
    def number(self) -> int:
        """Another for each way."""

    @property
    def token(self) -> str:
        """Shown as bearer; empty for none."""


class HttpTransport:
    """One host's API, as one device. Safe to use from several threads: each has its own connection."""

    def __init__(
        self,
        url: str,
        token: str | Callable[[], str],
        device: str,
        *,
        timeout_s: float = 20.0,
        on_refused: Callable[[], None] = lambda: None,
        on_bundle: Callable[[str], None] = lambda _: None,
        way: Callable[[], Calling | None] = lambda: None,
    ) -> None:
        """Bind; nothing is sent yet.

        Args:
            url: of the host.
            token: the pre-shared one, or what gives it; asked for before each request.
            device: this device's id.
            timeout_s: after which a request is given up.
            on_refused: called when the host does not take the token.
            on_bundle: given the bundle that the host wants, each time that a poll's answer names one.
            way: by this device's certificate, which takes the place of `url` and `token`; None while it has none.
        """
        self._way = way
        self._plain_url, self._device, self._timeout_s = url.rstrip("/"), device, timeout_s
        self._token = token if callable(token) else lambda: token
        self._on_refused, self._on_bundle = on_refused, on_bundle
        self._local = threading.local()
        alarm()
        self.epoch = ""
        self.address = ""

    @property
    def url(self) -> str:
        """Where the host is called now."""
        way = self._way()
        return way.url if way is not None else self._plain_url

    @property
    def number(self) -> int:
        """Another for each certificate by which the host is called; 0 without one."""
        way = self._way()
        return way.number if way is not None else 0

    @property
    def _session(self) -> tuple[HttpSession, Watch]:
        way = self._way()
        number = way.number if way is not None else 0
        found: tuple[int, HttpSession, Watch] | None = getattr(self._local, "session", None)
        if found is None or found[0] != number:
            if found is not None:
                found[1].close()
            watch = Watch()
            session = HttpSession(watch) if way is None else HttpSession(watch, way.tls, way.vet)
            found = self._local.session = (number, session, watch)
        return found[1], found[2]

    @contextmanager
    def _request(
        self,
        method: str,
        path: str,
        *,
        whole_s: float = 0.0,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
    ) -> Iterator[BaseHTTPResponse]:
        """An answer whose body is still to be read; at most `whole_s` more than the time-out until it is left."""
        session, watch = self._session
        sent = dict(headers or {})
        way = self._way()
        if token := self._token() if way is None else way.token:
            sent["Authorization"] = f"Bearer {token}"
        if self.epoch:
            sent[EPOCH_HEADER] = self.epoch
        timeout = Timeout(connect=min(10.0, self._timeout_s), read=whole_s + self._timeout_s)
        try:
            with session.ask(method, self.url + path, timeout=timeout, headers=sent, body=body) as response:
                self.address = watch.address or self.address
                yield response
        except FAULTS as error:
            if watch.expired:
                raise TransportError("timed-out", f"{self.url} took too long over its answer.") from error
            raise failed_connection(error, self.url) from error

    def _ask(
        self, route: Route, method: str, path: str, *, limit_bytes: int = MAX_REPLY_BYTES, wait_s: float = 0.0,
        headers: dict[str, str] | None = None, data: bytes | None = None,
    ) -> bytes | None:  # fmt: skip
        """The wanted answer's body; None for one that has none.

        Raises:
            TransportError: the link, or something on it that isn't the host. ContractError: the host refuses.
        """
        _, watch = self._session
        with (
            watch.over(wait_s + 2 * self._timeout_s),
            self._request(method, path, whole_s=wait_s, headers=headers, body=data) as response,
        ):
            answer = _answer(response)
            if not is_wanted(route, answer):
                raise self._failure(route, response)
            if route == "desired" and (wanted := answer.headers.get(BUNDLE_HEADER.lower())):
                self._on_bundle(wanted.strip())
            if answer.status == 304:
                read_start(response, 1)  # nothing, but by this the connection can be used again
                return None
            body = read_body(response, limit_bytes, what=f"The answer of {self.url}")
            if watch.expired:
                raise TransportError("timed-out", f"{self.url} took too long over its answer.")
            return body

    def _failure(self, route: Route, response: BaseHTTPResponse) -> Exception:
        body = read_start(response, MAX_REPLY_BYTES)
        response.close()  # its connection is not used again: who knows who is at its other end
        error = failure(route, _answer(response, body), host=self.url)
        if error.code == "not-authorised":
            self._on_refused()
        return error

    def _reply(self, body: bytes | None, kind: type[_T], what: str) -> _T:
        """The host's own reply, parsed: anything else was not the host."""
        try:
            return codec.decode_json(body or b"", kind, what=what, limit_bytes=MAX_REPLY_BYTES)
        except ContractError as error:
            raise TransportError(
                "intercepted", f"Not {self.url} but something on the way answered: {error.message}"
            ) from error

    def enrol(self, request: EnrolRequest) -> EnrolReply:
        """Introduce this device.

        Raises:
            TransportError: see `answers` and `causes`.
            ContractError: what the host refused it for.
        """
        body = self._ask("enrol", "POST", routes.ENROL, data=codec.canonical_json(request), headers=_JSON)
        reply = self._reply(body, EnrolReply, "enrolment reply")
        if reply.device != self._device:
            raise TransportError("intercepted", f"The enrolment was answered for {reply.device!r}.")
        return reply

    def enrol_by(self, way: Calling, request: EnrolRequest) -> EnrolReply:
        """Introduce this device another way, once; raises as `enrol`."""
        return HttpTransport(way.url, "", self._device, timeout_s=self._timeout_s, way=lambda: way).enrol(request)

    def poll(
        self, revision: int | None, wait_s: float, *, held: str = "", bundle: str = "", nonce: str = ""
    ) -> bytes | None:
        """The newest assignment, if it is another than the known one; None when it isn't.

        Args:
            revision: what is known; None for nothing.
            wait_s: how long the host may hold the request open.
            held: SHA-256 of the assignment that is known.
            bundle: the last one that was heard of.
            nonce: what is to be signed into the answer; empty where nothing is signed.

        Raises:
            TransportError: as `enrol`. ContractError: `not-found` when the host does not know this device.
        """
        headers = {} if revision is None else {"If-None-Match": f'"{revision}"'}
        if held:
            headers[ASSIGNMENT_HEADER] = held
        if bundle:
            headers[BUNDLE_HEADER] = bundle
        if nonce:
            headers[NONCE_HEADER] = nonce
        path = f"{routes.desired_path(self._device)}?wait_s={wait_s:g}"
        return self._ask("desired", "GET", path, limit_bytes=MAX_SIGNED_BYTES, wait_s=wait_s, headers=headers)

    def send_report(self, data: bytes) -> ReportReply:
        """See `ports.Host`."""
        body = self._ask("report", "PUT", routes.report_path(self._device), data=data, headers=_JSON)
        reply, sent = self._reply(body, ReportReply, "reply to a report"), msgspec.json.decode(data, type=_Sent)
        if (reply.device, reply.epoch, reply.sequence) != (self._device, sent.epoch, sent.sequence):
            raise TransportError("intercepted", "The answer belongs to another report: a cache on the way.")
        return reply

    def send_batch(self, data: bytes) -> None:
        """See `ports.Host`."""
        body = self._ask("telemetry", "POST", routes.telemetry_path(self._device), data=data, headers=_JSON)
        reply, sent = self._reply(body, BatchReply, "reply to telemetry"), msgspec.json.decode(data, type=_Sent)
        last = max((item.seq for item in sent.items), default=-1)
        if (reply.device, reply.epoch, reply.last) != (self._device, sent.epoch, last):
            raise TransportError("intercepted", "The answer belongs to another batch: a cache on the way.")

    def send_bundle(self, bundle: str, data: bytes) -> None:
        """Bring a bundle that the host asked for; returns once it has it.

        Raises:
            TransportError: it may not have arrived. ContractError: the host does not want it, or not so.
        """
        headers = {"Content-Type": "application/gzip", BUNDLE_HEADER: bundle}
        path, long_s = routes.bundle_path(self._device), len(data) / LEAST_BYTES_PER_S
        body = self._ask("bundle", "PUT", path, wait_s=long_s, data=data, headers=headers)
        reply = self._reply(body, BundleReply, "reply to a bundle")
        if (reply.device, reply.bundle, reply.size_bytes) != (self._device, bundle, len(data)):
            raise TransportError("intercepted", "The answer belongs to another bundle: a cache on the way.")

    @contextmanager
    def open_blob(self, sha256: str, offset: int, size_bytes: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """See `ports.BlobSource`."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        _, watch = self._session
        with (
            watch.over(2 * self._timeout_s) as unwatch,
            self._request("GET", routes.blob_path(sha256), headers=headers) as response,
        ):
            answer = _answer(response)
            if not is_wanted("blob", answer):
                raise self._failure("blob", response)
            start = check_blob(answer, sha256, offset, size_bytes, host=self.url)
            unwatch()  # a large blob may take hours, as long as it comes on
            yield start, self._pieces(response, sha256, size_bytes - start)

    def _pieces(self, response: BaseHTTPResponse, sha256: str, size_bytes: int) -> Iterator[bytes]:
        what = f"Blob {sha256[:12]}"
        try:
            yield from read_pieces(response, size_bytes, timeout_s=self._timeout_s, what=what)
        except FAULTS as error:
            raise TransportError("cut-short", f"The transfer of blob {sha256[:12]} was cut: {error}.") from error


def _answer(response: BaseHTTPResponse, body: bytes = b"") -> Answer:
    return Answer(response.status, {name.lower(): v for name, v in response.headers.items()}, body)
