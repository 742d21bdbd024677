"""Where metadata comes from: an HTTP server, a bundle that came in one message, a folder on a stick.

The verification is the same; only the bytes' way differs. None of them is trusted: what they give is bounded in length by
who asks, and in time here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path

from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient.fetcher import FetcherInterface
from urllib3 import Timeout

from edgelift_agent.link.bounded import Watch, read_pieces
from edgelift_agent.link.causes import failed_connection
from edgelift_agent.link.session import FAULTS, HttpSession
from edgelift_agent.system.inside import open_inside
from edgelift_contract.errors import TransportError

#: Before the name of a file in a bundle or a folder, where a URL has its server.
LOCAL = "local:/"

_NOT_FOUND = 404
_PIECE_BYTES = 64 * 1024
#: A file is given up that takes longer as a whole, seconds: metadata has some kilobytes.
_WHOLE_S = 60.0


class BundleFetcher(FetcherInterface):
    """Files that came together in one message."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        """Bind to name → bytes, as `director/timestamp.json`."""
        self._files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.removeprefix(LOCAL)
        if (data := self._files.get(name)) is None:
            raise DownloadHTTPError(f"{name} is not in the bundle", _NOT_FOUND)
        return iter((data,))


class FolderFetcher(FetcherInterface):
    """Files below a folder that anybody may have written: no name and no link leads out of it, nothing there blocks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.removeprefix(LOCAL)
        return _pieces(self._open(name), name)

    def _open(self, name: str) -> int:
        """A descriptor."""
        try:
            return open_inside(self._folder, name)
        except FileNotFoundError as error:
            raise DownloadHTTPError(f"{name} is not in the folder", _NOT_FOUND) from error
        except OSError as error:
            raise DownloadError(f"{name} of the folder can't be opened: {error.strerror}") from error


def _pieces(descriptor: int, name: str) -> Iterator[bytes]:
    with os.fdopen(descriptor, "rb") as file:
        while piece := _read(file.fileno(), name):
            yield piece


def _read(descriptor: int, name: str) -> bytes:
    try:
        return os.read(descriptor, _PIECE_BYTES)
    except OSError as error:
        raise DownloadError(f"{name} can't be read: {error.strerror}") from error


class HttpFetcher(FetcherInterface):
    """A server's files; each is given up when it comes too slowly, or takes too long as a whole."""

    def __init__(self, *, timeout_s: float = 20.0, whole_s: float = _WHOLE_S) -> None:
        """Bind; nothing is asked yet.

        Args:
            timeout_s: without a byte, or with too few.
            whole_s: for one file.
        """
        self._timeout_s, self._whole_s, self._watch = timeout_s, whole_s, Watch()
        self._session = HttpSession(self._watch)

    def _fetch(self, url: str) -> Iterator[bytes]:
        return self._get(url)

    def _get(self, url: str) -> Iterator[bytes]:
        try:
            with (
                self._watch.over(self._whole_s),
                self._session.ask(
                    "GET", url, timeout=Timeout(connect=self._timeout_s, read=self._timeout_s)
                ) as answer,
            ):
                if answer.status != HTTPStatus.OK:
                    raise DownloadHTTPError(f"{url} is answered {answer.status}", answer.status)
                yield from read_pieces(answer, 1 << 62, timeout_s=self._timeout_s, what=url)
                if self._watch.expired:
                    raise DownloadError(f"{url} took longer than {self._whole_s:g} s")
        except TransportError as error:
            raise DownloadError(error.message) from error
        except FAULTS as error:
            raise DownloadError(failed_connection(error, url).message) from error
