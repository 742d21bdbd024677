"""An HTTP server on a free port of loopback that gives files by their path, honestly or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.simulators.loopback_server import LoopbackServer, QuietHandler


class FileServer(LoopbackServer):
    """A context; `files` may be changed at any time.

    Attributes:
        files: path → what is answered.
        odd: path → what answers in place of that, given the request's handler.
        asked: the paths that were asked for.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.odd: dict[str, Callable[[Any], None]] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(QuietHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                if (answer := outer.odd.get(self.path)) is not None:
                    answer(self)
                    return
                data = outer.files.get(self.path)
                self.send_response(200 if data is not None else 404)
                self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()
                self.wfile.write(data or b"")

        super().__init__(Handler)
