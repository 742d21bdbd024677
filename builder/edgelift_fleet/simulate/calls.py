"""A simulated board's calls to the host, and what their answers mean: done, try again, or refused for good."""

from __future__ import annotations

import msgspec

from edgelift_contract.replies import ErrorReply
from edgelift_fleet.simulate.http import HttpAnswer, HttpConnection

#: Beside a fault of the server's own: it was too slow, or asks for less at once.
_TRY_AGAIN = (408, 429)


class Refused(Exception):
    """The host refused a message for good: sending it again changes nothing."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


async def call(
    connection: HttpConnection, method: str, path: str, body: bytes, headers: list[str], *, wait_s: float = 0.0
) -> HttpAnswer:
    """A call that ends in 200 or 304.

    Args:
        connection: over which.
        method: of HTTP.
        path: with its query.
        body: empty for none.
        headers: lines as `Name: value`.
        wait_s: how long the host may hold the answer, seconds.

    Raises:
        OSError: to try again.
        Refused: for good.
    """
    answer = await connection.ask(method, path, body, headers, wait_s=wait_s)
    if answer.status in (200, 304):
        return answer
    if answer.status >= 500 or answer.status in _TRY_AGAIN:
        raise ConnectionError(f"{method} {path}: the server answered {answer.status}")
    try:
        code = msgspec.json.decode(answer.body, type=ErrorReply).code
    except msgspec.MsgspecError:
        raise ConnectionError(f"{method} {path}: {answer.status} of somebody else") from None
    raise Refused(code)
