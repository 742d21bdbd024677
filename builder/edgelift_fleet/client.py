"""The operators' API as the command line calls it: finds the running server by its site, speaks HTTP."""

from __future__ import annotations

import http.client
import json
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from edgelift_contract import codec
from edgelift_contract.errors import CODES, ContractError, EdgeliftError, TransportError
from edgelift_contract.replies import ErrorReply
from edgelift_fleet.server_file import read_server_file
from edgelift_fleet.site import Site

T = TypeVar("T")


class Client:
    """One running server, as an operator."""

    def __init__(self, url: str, token: str, *, timeout_s: float = 20.0) -> None:
        self._url, self._token, self._timeout_s = url, token, timeout_s

    @classmethod
    def of_site(cls, site: Site) -> Client:
        """The server that runs on a site.

        Raises:
            TransportError: `unreachable` when none runs.
            DeviceError: `bad-config` when the operator token can't be read.
        """
        return cls(read_server_file(site).url, site.secret("operator-token"))

    def get(self, path: str, kind: type[T]) -> T:
        """GET `path` as `kind`; raises what the server refused with, or TransportError."""
        return self._call("GET", path, None, kind)

    def post(self, path: str, message: Any, kind: type[T]) -> T:
        """POST `message` to `path`; raises as `get`."""
        return self._call("POST", path, codec.canonical_json(message), kind)

    def delete(self, path: str, kind: type[T]) -> T:
        """DELETE `path`; raises as `get`."""
        return self._call("DELETE", path, None, kind)

    def _call(self, method: str, path: str, body: bytes | None, kind: type[T]) -> T:
        parts = urlsplit(self._url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=self._timeout_s)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            data = response.read()
        except TimeoutError as error:
            raise TransportError("timed-out", f"The server at {self._url} did not answer in time.") from error
        except (OSError, http.client.HTTPException) as error:
            raise TransportError(
                "unreachable",
                f"The server at {self._url} cannot be reached: {error}.",
                hint="Start it: edgelift serve.",
            ) from error
        finally:
            connection.close()
        if response.status >= 300:
            raise _refusal(response.status, data)
        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.MsgspecError as error:
            raise ContractError("malformed", f"The server's answer is not understood: {error}.") from error


def segment(text: str) -> str:
    """`text` as one segment of a path."""
    return quote(text, safe="")


def _refusal(status: int, data: bytes) -> EdgeliftError:
    try:
        told = ErrorReply(**json.loads(data))
    except (ValueError, TypeError):
        return TransportError("server-error", f"The server answered {status}.")
    kind = TransportError if status in (401, 403) or status >= 500 else ContractError
    return kind(told.code if told.code in CODES else "server-error", told.error, hint=told.hint)
