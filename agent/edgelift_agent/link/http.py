"""HTTP to the host, by `requests`: enrolment, assignment by long poll, reports, telemetry, blobs with ranges."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import requests

from edgelift_contract import codec, routes
from edgelift_contract.assignment import MAX_ASSIGNMENT_BYTES
from edgelift_contract.enrol import EnrolReply, EnrolRequest
from edgelift_contract.errors import ContractError, EdgeliftError, TransportError

_PIECE_BYTES = 64 * 1024


class HttpTransport:
    """One host's API, as one device. Safe to use from several threads: each has its own connection."""

    def __init__(self, url: str, token: str, device: str, *, timeout_s: float = 20.0) -> None:
        self._url, self._token, self._device, self._timeout_s = url.rstrip("/"), token, device, timeout_s
        self._local = threading.local()

    @property
    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.headers["Authorization"] = f"Bearer {self._token}"
            session.trust_env = False
        return session

    def _request(
        self, method: str, path: str, *, timeout_s: float | None = None, **options: Any
    ) -> requests.Response:
        timeout = (min(10.0, self._timeout_s), timeout_s or self._timeout_s)
        try:
            return self._session.request(
                method, self._url + path, timeout=timeout, allow_redirects=False, **options
            )
        except requests.Timeout as error:
            raise TransportError("timed-out", f"{self._url} did not answer in time.") from error
        except requests.RequestException as error:
            raise TransportError(
                "unreachable", f"{self._url} cannot be reached.", hint="Check the network and host.url."
            ) from error

    def enrol(self, request: EnrolRequest) -> EnrolReply:
        """Introduce this device.

        Raises:
            TransportError: `unreachable`, `timed-out`, `server-error`, `not-authorised`.
            ContractError: `malformed`, or what the host refused it for.
        """
        response = self._request("POST", routes.ENROL, data=codec.canonical_json(request), headers=_JSON)
        _check(response)
        return codec.decode_json(response.content, EnrolReply, what="enrolment reply")

    def poll(self, revision: int | None, wait_s: float) -> bytes | None:
        """The newest assignment, if it has another revision than `revision`; None when it hasn't.

        Args:
            revision: what is known; None for nothing.
            wait_s: how long the host may hold the request open.

        Raises:
            TransportError: as `enrol`.
        """
        headers = {} if revision is None else {"If-None-Match": f'"{revision}"'}
        path = f"{routes.desired_path(self._device)}?wait_s={wait_s:g}"
        response = self._request("GET", path, timeout_s=wait_s + self._timeout_s, headers=headers)
        if response.status_code == 304:
            return None
        _check(response)
        if len(response.content) > MAX_ASSIGNMENT_BYTES:
            raise ContractError("too-large", f"The assignment has {len(response.content)} bytes.")
        return response.content

    def send_report(self, data: bytes) -> None:
        """See `ports.Host`."""
        _check(self._request("PUT", routes.report_path(self._device), data=data, headers=_JSON))

    def send_batch(self, data: bytes) -> None:
        """See `ports.Host`."""
        _check(self._request("POST", routes.telemetry_path(self._device), data=data, headers=_JSON))

    @contextmanager
    def open_blob(self, sha256: str, offset: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """See `ports.BlobSource`."""
        # Content codings would break both ranges and the digest.
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        response = self._request("GET", routes.blob_path(sha256), headers=headers, stream=True)
        with response:
            if response.status_code == 404:
                raise ContractError("missing-blob", f"The host does not have the blob {sha256[:12]}.")
            if response.status_code == 416:
                yield 0, iter(())
                return
            _check(response)
            yield (offset if response.status_code == 206 else 0), _pieces(response, sha256)


_JSON = {"Content-Type": "application/json"}


def _pieces(response: requests.Response, sha256: str) -> Iterator[bytes]:
    try:
        yield from response.iter_content(_PIECE_BYTES)
    except requests.RequestException as error:
        raise TransportError("cut-short", f"The transfer of blob {sha256[:12]} was cut.") from error


def _check(response: requests.Response) -> None:
    status = response.status_code
    if status < 300:
        return
    try:
        body = msgspec.json.decode(response.content[:4096], type=dict[str, Any])
    except msgspec.MsgspecError:
        body = {}
    message = str(body.get("error") or f"the host answered {status}")
    if status in (401, 403):
        raise TransportError(
            "not-authorised", f"The host did not accept this device: {message}", hint="Check its token."
        )
    if status >= 500 or status == 429:
        raise TransportError("server-error", f"The host failed: {message}")
    raise _refusal(str(body.get("code", "")), message)


def _refusal(code: str, message: str) -> EdgeliftError:
    try:
        return ContractError(code, message)
    except ValueError:
        return ContractError("malformed", message)
