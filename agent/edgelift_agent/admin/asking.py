"""Asking the running agent through its administrator's socket; light, so that `status` costs next to nothing."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Any

import msgspec

from edgelift_agent.system.sockets import connect_admin
from edgelift_contract.errors import DeviceError


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Open the socket file instead of a TCP connection."""
        self.sock = connect_admin(self._path, self.timeout)


def ask(
    path: Path, method: str, route: str, arguments: dict[str, Any] | None = None, *, timeout_s: float = 30.0
) -> Any:
    """Ask the running agent, as `edgelift-agent status` does.

    Raises:
        DeviceError: `not-allowed` for a user who may not ask; `not-serving` when no agent runs; `busy` when one does
            not answer in time; else what the agent answered.
    """
    connection = _UnixConnection(path, timeout_s)
    try:
        connection.request(method, route, body=msgspec.json.encode(arguments) if arguments else None)
        response = connection.getresponse()
        body = response.read()
    except PermissionError as error:
        raise DeviceError("not-allowed", f"Permission denied at {path}.", hint="Use sudo.") from error
    except (TimeoutError, BlockingIOError) as error:  # nobody takes what is sent, or nobody is let in any more
        raise DeviceError(
            "busy",
            f"The agent at {path} does not answer.",
            hint="It is stopped or stuck: systemctl restart edgelift-agent",
        ) from error
    except OSError as error:
        raise DeviceError(
            "not-serving", f"No agent answers at {path}.", hint="Is it running? systemctl status edgelift-agent"
        ) from error
    finally:
        connection.close()
    answer = msgspec.json.decode(body) if body else None
    if response.status != 200:
        code = str(answer.get("code", "internal")) if isinstance(answer, dict) else "internal"
        message = str(answer.get("error", body)) if isinstance(answer, dict) else str(body)
        hint = str(answer.get("hint", "")) if isinstance(answer, dict) else ""
        raise DeviceError(code, message, hint=hint)
    return answer
