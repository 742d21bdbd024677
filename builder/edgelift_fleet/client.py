"""The operators' API as the command line calls it: finds the running server by its site, speaks HTTP or HTTPS.

A call is made again when no connection could be made or it broke off: a server that is being started again is no error
yet. A command that changes something bears a key of its own, under which the server carries it out once, however often
it comes: nobody wants a rollout started twice.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec
import requests
from requests.adapters import BaseAdapter

from edgelift_contract import codec
from edgelift_contract.errors import CODES, ContractError, DeviceError, EdgeliftError, TransportError
from edgelift_contract.proxies import proxy_for
from edgelift_fleet.causes import cause_of
from edgelift_fleet.server_file import read_server_file
from edgelift_fleet.site import Site

#: Waits between the tries of one call, seconds: two in all, which a restart of the server takes.
RETRY_DELAYS_S = (0.1, 0.3, 0.6, 1.0)
#: Most that an answer may have that is read whole, and a refusal, bytes: who answers may be somebody on the way.
MAX_ANSWER_BYTES, _MAX_REFUSAL_BYTES = 256 << 20, 1 << 20

T = TypeVar("T")


@dataclass(frozen=True)
class ListPage(Generic[T]):
    """A page of a list: `total` there are on all pages together, and `next` is the path of the one after it, or empty."""

    items: list[T]
    total: int
    next: str


class Client:
    """One running server, as an operator.

    Args:
        url: `http://…` or `https://…`.
        token: the operator token.
        timeout_s: for a connection, and between two pieces of an answer.
        ca_file: certificates of who may vouch for the server, in PEM; the system's without one.
        patient: try again what may be tried again.
        adapter: what carries the requests; HTTP without one.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout_s: float = 60.0,
        ca_file: str = "",
        patient: bool = True,
        adapter: BaseAdapter | None = None,
    ) -> None:
        self._url, self._timeout_s = url.rstrip("/"), timeout_s
        self._delays_s = RETRY_DELAYS_S if patient else ()
        self._session = requests.Session()
        self._session.trust_env = False  # over plain HTTP a proxy of the environment would see the token
        if proxy := proxy_for(self._url):
            self._session.proxies = {"https": proxy}
        self._session.headers.update({"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
        self._ca_file = ca_file
        self._session.verify = ca_file or True
        if adapter is not None:
            self._session.mount(self._url, adapter)

    @classmethod
    def of_site(cls, site: Site, *, token: str = "", timeout_s: float = 60.0, patient: bool = True) -> Client:
        """The server that runs on a site; `token` instead of the one that the site keeps.

        Raises:
            TransportError: `unreachable` when none runs.
            DeviceError: `bad-config` when the operator token can't be read.

        The environment's `EDGELIFT_CA_FILE` names a CA file for a server with a certificate of its own.
        """
        url, token = read_server_file(site).url, token or site.secret("operator-token")
        own = site.folder / "secrets" / "authority"
        ca_file = os.environ.get("EDGELIFT_CA_FILE", "") or (str(own) if url.startswith("https://") else "")
        return cls(url, token, ca_file=ca_file, timeout_s=timeout_s, patient=patient)

    def because(self, why: str) -> Client:
        """The same, which says with every change why it is asked for; empty for nothing."""
        if why:
            self._session.headers["Edgelift-Reason"] = quote(why, safe="")
        return self

    def get(self, path: str, kind: type[T]) -> T:
        """GET `path` as `kind`; raises what the server refused with, or TransportError."""
        return self._call("GET", path, None, kind)

    def ask(self, path: str, message: Any, kind: type[T]) -> T:
        """POST `message` to `path`, which is asked by it and changes nothing; raises as `get`."""
        return _decoded(self._answer("POST", path, codec.canonical_json(message), changes=False), kind)

    def page(self, path: str, kind: type[T], message: Any = None) -> ListPage[T]:
        """A page of a list of `kind`, one that `path` or the page before names: by GET, or asked for by POST of `message`;
        raises as `get`.
        """
        if message is None:
            response = self._answer("GET", path, None)
        else:
            response = self._answer("POST", path, codec.canonical_json(message), changes=False)
        total = response.headers.get("Total-Count", "")
        items = _decoded(response, list[kind])  # type: ignore[valid-type]  # a type that is only known when it runs
        return ListPage(
            items, int(total) if total.isdecimal() else len(items), response.links.get("next", {}).get("url", "")
        )

    def every(self, path: str, kind: type[T]) -> Iterator[T]:
        """All of a list, from the page that `path` names to the last; raises as `get`."""
        while path:
            page = self.page(path, kind)
            yield from page.items
            path = page.next

    def post(self, path: str, message: Any, kind: type[T]) -> T:
        """POST `message` to `path`; raises as `get`."""
        return self._call("POST", path, codec.canonical_json(message), kind)

    def put_file(self, path: str, file: Path, kind: type[T], advance: Callable[[int], None]) -> T:
        """PUT a file's bytes to `path`; `advance` is told how many of it are sent. Tried again, and raises, as `get`."""
        return _decoded(self._answer("PUT", path, lambda: _Told(file, advance)), kind)

    def put(self, path: str, message: Any, kind: type[T]) -> T:
        """PUT `message` to `path`; raises as `get`."""
        return self._call("PUT", path, codec.canonical_json(message), kind)

    def delete(self, path: str, kind: type[T]) -> T:
        """DELETE `path`; raises as `get`."""
        return self._call("DELETE", path, None, kind)

    def data(self, path: str) -> bytes:
        """GET `path`, whose answer is a file; raises as `get`."""
        response = self._send("GET", path, None)
        if response.status_code >= 300:
            raise read_refusal(response.status_code, response.content)
        return response.content

    def pieces(self, path: str) -> Iterator[bytes]:
        """GET `path`, whose answer is a file of any size: piece by piece, as it comes; raises as `get`."""
        response = self._send("GET", path, None, stream=True)
        with response:
            if response.status_code >= 300:
                raise read_refusal(response.status_code, next(response.iter_content(_MAX_REFUSAL_BYTES), b""))
            try:
                yield from response.iter_content(1 << 18)
            except requests.exceptions.RequestException as error:
                raise TransportError(
                    "cut-short", f"The server at {self._url} broke off its answer: {cause_of(error)}.",
                    hint="Run it again: what is there already is not fetched again.",
                ) from error  # fmt: skip

    def lines(self, path: str) -> Iterator[bytes]:
        """GET `path`, whose answer is JSON lines: one after the other, as they come; raises as `get`."""
        response = self._send("GET", path, None, stream=True)
        with response:
            if response.status_code >= 300:
                raise read_refusal(response.status_code, next(response.iter_content(_MAX_REFUSAL_BYTES), b""))
            try:
                yield from (line for line in response.iter_lines(1 << 16) if line)
            except requests.exceptions.RequestException as error:
                raise TransportError(
                    "unreachable", f"The server at {self._url} broke off its answer: {cause_of(error)}."
                ) from error

    def _call(self, method: str, path: str, body: bytes | None, kind: type[T]) -> T:
        return _decoded(self._answer(method, path, body), kind)

    def _answer(
        self, method: str, path: str, body: bytes | Callable[[], _Told] | None, *, changes: bool = True
    ) -> requests.Response:
        key = secrets.token_hex(16) if changes and method in ("POST", "DELETE") else ""
        for delay_s in (*self._delays_s, None):
            try:
                if callable(body):
                    with body() as file:
                        response = self._send(method, path, file)
                else:
                    response = self._send(method, path, body, key=key)
                break
            except TransportError as error:
                if delay_s is None or error.code != "unreachable":
                    raise
                time.sleep(delay_s)
        if response.status_code >= 300:
            raise read_refusal(response.status_code, response.content)
        return response

    def _send(
        self, method: str, path: str, body: bytes | _Told | None, *, key: str = "", stream: bool = False
    ) -> requests.Response:
        try:
            response = self._session.request(
                method, self._url + path, data=body, headers={"Idempotency-Key": key} if key else None,
                timeout=self._timeout_s, allow_redirects=False, stream=True,
            )  # fmt: skip
            return response if stream else _whole(response)
        except requests.exceptions.SSLError as error:
            raise TransportError(
                "tls-failed",
                f"The server at {self._url} is not trusted: {cause_of(error)}.",
                hint="Compare its authority with what edgelift authority show says there, and log in again; one of your own:"
                " EDGELIFT_CA_FILE.",
            ) from error
        except requests.exceptions.ConnectTimeout as error:
            raise TransportError("timed-out", f"The server at {self._url} did not answer in time.") from error
        except requests.exceptions.Timeout as error:
            raise TransportError(
                "timed-out", f"The server at {self._url} did not answer in time.{_maybe_done(key)}"
            ) from error
        except requests.exceptions.RequestException as error:
            refused = "refused" in cause_of(error).lower()
            raise TransportError(
                "unreachable",
                f"The server at {self._url} cannot be reached: {cause_of(error)}.{'' if refused else _maybe_done(key)}",
                hint="Start it: edgelift serve.",
            ) from error
        except OSError as error:  # requests names a CA file that can't be read only so
            raise DeviceError(
                "bad-config",
                f"The CA file {self._ca_file!r} cannot be read: {error}.",
                hint="See EDGELIFT_CA_FILE.",
            ) from error


def _whole(response: requests.Response) -> requests.Response:
    """The answer with its body, as it would come without `stream`, but for its bound. Raises ContractError `too-large`."""
    body = bytearray()
    with response:
        for piece in response.iter_content(1 << 16):
            body += piece
            if len(body) > MAX_ANSWER_BYTES:
                raise ContractError(
                    "too-large", f"The server's answer has more than {MAX_ANSWER_BYTES} bytes.",
                    hint="Ask for less: a page, a shorter time.",
                )  # fmt: skip
    response._content = bytes(body)
    return response


def _decoded(response: requests.Response, kind: type[T]) -> T:
    return read_answer(response.content, kind)


def read_answer(body: bytes, kind: type[T]) -> T:
    """The body of an answer as `kind`. Raises ContractError `malformed`."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ContractError("malformed", f"The server's answer is not understood: {error}.") from error


class _Told:
    """A file that tells how many of its bytes were read."""

    def __init__(self, path: Path, advance: Callable[[int], None]) -> None:
        self._file, self._advance = path.open("rb"), advance
        self._size = path.stat().st_size

    def __len__(self) -> int:
        return self._size

    def __enter__(self) -> _Told:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._advance(self._file.tell())
        return piece


class BlobsMissing(ContractError):
    """Files of a release are not there yet: `missing` are the digests of some of them."""

    def __init__(self, code: str, message: str, *, hint: str, missing: list[str]) -> None:
        super().__init__(code, message, hint=hint)
        self.missing = missing


def _maybe_done(key: str) -> str:
    """What bears a key changes something."""
    return " The command may have been carried out: check before you repeat it." if key else ""


def segment(text: str) -> str:
    """`text` as one segment of a path.

    Raises:
        ContractError: `bad-id` when it is empty: the path would be another one.
    """
    if not text:
        raise ContractError("bad-id", "An empty name names nothing.")
    return quote(text, safe="")


class _Reply(msgspec.Struct):
    """A refusal; whatever else it says is for others."""

    error: str
    code: str
    hint: str = ""
    missing: list[str] = []


def read_refusal(status: int, data: bytes) -> EdgeliftError:
    """What the server refused with; something may answer in its place, in any words."""
    try:
        reply = msgspec.json.decode(data, type=_Reply)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return TransportError("server-error", f"The server answered {status}.")
    if reply.code == "blobs-wanted":
        return BlobsMissing(reply.code, reply.error, hint=reply.hint, missing=reply.missing)
    kind = TransportError if status in (401, 403) or status >= 500 else ContractError
    return kind(reply.code if reply.code in CODES else "server-error", reply.error, hint=reply.hint)
