"""One question to the control plane: does it answer, and does it take this token?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

from edgelift_agent.config import Config
from edgelift_agent.link.http import Calling, HttpTransport
from edgelift_contract.errors import EdgeliftError

#: Longest wait for the answer, seconds.
TIMEOUT_S = 5.0


class HostTrial(TypedDict):
    """How it went: `answers`, and what to say and do about it."""

    answers: bool
    message: str
    hint: str


def try_host(
    config: Config, token: str | Callable[[], str], way: Callable[[], Calling | None] = lambda: None
) -> HostTrial:
    """Ask for the assignment once, over a connection of its own; `way` and `token` as of `HttpTransport`."""
    url = config.host.url
    try:
        asked = HttpTransport(url, token, config.device, timeout_s=TIMEOUT_S, way=way)
        url = asked.url
        asked.poll(None, 0.0)
    except EdgeliftError as error:
        if error.code in ("not-found", "malformed"):
            return HostTrial(answers=True, message=f"{url} answers; this device has not enrolled yet", hint="")
        return HostTrial(
            answers=False, message=error.message, hint=error.hint or "Check host.url and the network."
        )
    return HostTrial(answers=True, message=f"{url} answers and knows this device", hint="")
