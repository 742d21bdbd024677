"""Which heads of requests are refused before any application is asked, and with which answer. Pure.

What a proxy in front of the server may read otherwise than the server does is refused, so that nothing is let in by one
reading and carried out by the other: a header that is meant once and comes twice, a host that is missing (RFC 9112 §3.2), a
body in a coding that nobody here undoes (§6.1).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

#: Headers that say one thing: of two values nobody knows which was meant.
_ONCE = (b"host", b"authorization", b"content-type")
#: By which a client offers to go on in another protocol.
_OFFERS = (b"upgrade", b"http2-settings")


def _last_word(line: str, media: str, body: dict[str, object], *more: str) -> bytes:
    """An answer before which no application was asked; the connection ends with it."""
    data = json.dumps(body, separators=(",", ":")).encode()
    head = [f"HTTP/1.1 {line}", f"content-type: {media}", "edgelift: 1", *more, "connection: close"]
    return "\r\n".join([*head, f"content-length: {len(data)}", "", ""]).encode() + data


def _no_request(line: str, code: str, said: str, hint: str) -> bytes:
    # As the operators' side refuses: an agent takes this for trouble on the way, which is the harmless mistake.
    problem: dict[str, object] = {
        "code": code, "error": said, "hint": hint, "type": f"/v1/errors/{code}", "title": said,
        "status": int(line[:3]), "detail": said,
    }  # fmt: skip
    return _last_word(line, "application/problem+json", problem)


FULL = _last_word(
    "503 Service Unavailable", "application/json",
    {"code": "busy", "error": "Too many connections are busy here.", "hint": "Ask again soon."}, "retry-after: 5",
)  # fmt: skip
TOO_LONG = _no_request(
    "431 Request Header Fields Too Large", "too-large", "The request's line and headers are too long.",
    "Ask for less in the address; a long selector is sent in a body.",
)  # fmt: skip
MALFORMED = _no_request("400 Bad Request", "malformed", "This is no request of HTTP/1.1.", "")


def _malformed(said: str, hint: str) -> bytes:
    return _no_request("400 Bad Request", "malformed", said, hint)


def refusal_of(version: str, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The answer to a request whose head is whole and can't be taken; empty for one that can.

    Args:
        version: of HTTP, as `1.1`.
        headers: names in lower case, and values.
    """
    hosts, codings = 0, []
    seen: set[bytes] = set()
    for name, value in headers:
        if name in _ONCE:
            if name in seen:
                return _malformed(f"The header {name.decode()} comes twice.", "Give the request one.")
            seen.add(name)
            hosts += name == b"host"
        elif name == b"transfer-encoding":
            codings.append(value)
    if not hosts and version == "1.1":
        return _malformed("The request names no host.", "HTTP/1.1 needs the header Host.")
    if codings and b",".join(codings).strip().lower() != b"chunked":
        return _malformed(
            "The request's Transfer-Encoding is not understood.", "Send its body plain, or chunked and no more."
        )
    return b""


def without_offers(lines: Sequence[bytes], headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A head of a request as it would be without its offer of another protocol.

    Args:
        lines: those before its headers.
        headers: names in lower case, and values.
    """
    head = [*lines]
    for name, value in headers:
        if name == b"connection":
            value = b",".join(one for one in value.split(b",") if one.strip().lower() not in _OFFERS)
        if name not in _OFFERS:
            head.append(b"%b: %b" % (name, value))
    return b"\r\n".join([*head, b"", b""])
