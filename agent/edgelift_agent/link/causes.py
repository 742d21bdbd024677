"""Why a connection came to nothing, in one sentence and a code: what a library raised is looked through. Pure."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
from collections.abc import Iterator

from urllib3 import exceptions as urllib3

from edgelift_contract.errors import TransportError

_NO_ROUTE = {
    errno.EHOSTUNREACH: "no route to it", errno.ENETUNREACH: "this device has no network",
    errno.ENETDOWN: "this device's network is down", errno.EHOSTDOWN: "it is down",
    errno.EMFILE: "this device has no descriptors left", errno.ENFILE: "this device has no descriptors left",
}  # fmt: skip


def failed_connection(error: BaseException, host: str) -> TransportError:
    """What to say of a request that got no answer.

    Args:
        error: what the HTTP library raised.
        host: whom was asked, as its URL.

    Returns:
        `name-unresolved`, `tls-failed`, `timed-out` or `unreachable`, with the cause in the sentence.
    """
    chain = list(_chain(error))
    code, cause, hint = next((found for one in chain if (found := _cause(one)) is not None), _unknown(chain))
    if any(isinstance(one, urllib3.ProxyError) for one in chain):
        host, hint = f"{host}, by the proxy of HTTPS_PROXY,", "Check HTTPS_PROXY and NO_PROXY."
    if code == "timed-out":
        return TransportError(code, f"{host} did not answer in time: {cause}.", hint=hint)
    return TransportError(code, f"{host} cannot be reached: {cause}.", hint=hint)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """What lies beneath, deepest first; libraries keep it in arguments, `reason`, causes and contexts."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting and len(seen) < 32:
        one = waiting.pop(0)
        if any(one is known for known in seen):
            continue
        seen.append(one)
        beneath = [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]
        waiting += [part for part in beneath if isinstance(part, BaseException)]
    return reversed(seen)


def _cause(error: BaseException) -> tuple[str, str, str] | None:
    if isinstance(error, (socket.gaierror, urllib3.NameResolutionError)):
        text = error.strerror if isinstance(error, socket.gaierror) and error.strerror else "no answer from DNS"
        return "name-unresolved", f"its name is not known ({text})", "Check host.url and the network's DNS."
    if isinstance(error, UnicodeError):  # what Python says of a name that no DNS can hold
        return "name-unresolved", f"its name can't be one ({error})", "Check host.url."
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = "Check the host's certificate and this device's clock."
        return "tls-failed", f"its certificate is not trusted ({error.verify_message})", hint
    if isinstance(error, ssl.SSLError):
        return "tls-failed", f"TLS failed ({error.reason or error})", "Does the host speak https at this port?"
    if isinstance(error, (TimeoutError, urllib3.ConnectTimeoutError)) and not isinstance(error, ssl.SSLError):
        return "timed-out", "no bytes came", "Check the network, and that the host is up."
    if isinstance(error, ConnectionRefusedError):
        return "unreachable", "the connection was refused", "Does the control plane run, at this port?"
    if isinstance(error, (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected)):
        return "unreachable", "the connection was cut before an answer came", ""
    if isinstance(error, OSError) and str(error).startswith("Tunnel connection failed"):  # http.client's words
        return "unreachable", f"the proxy answered {str(error).partition(': ')[2]}", ""
    if isinstance(error, OSError) and error.errno in _NO_ROUTE:
        return "unreachable", _NO_ROUTE[error.errno], "Check the network."
    return None


def _unknown(chain: list[BaseException]) -> tuple[str, str, str]:
    deepest = chain[0]
    return "unreachable", f"what came is no HTTP answer ({type(deepest).__name__}: {str(deepest)[:120]})", ""
