"""Whose word an HTTP answer is, and what follows from it: the table of every kind of answer. Pure.

Only the control plane may refuse. Its word is an `ErrorReply` with a code that this route may be refused with, under
its mark. Everything else that isn't the wanted answer (redirects, sign-in pages, proxies' errors, HTML under 200, a
blob of another length or ETag, JSON of another program) is trouble on the way: a `TransportError`, tried again.
What a wanted answer's body must say is judged where it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from edgelift_contract.errors import CODES, ContractError, EdgeliftError, TransportError
from edgelift_contract.replies import MARK, ErrorReply
from edgelift_contract.signed import SIGNED_MEDIA

Route = Literal["enrol", "desired", "report", "telemetry", "blob", "bundle"]
Kind = Literal["json", "assignment", "none", "bytes"]

#: (route, status) → what the body of a wanted answer is. Any other answer is a refusal or trouble.
WANTED: Mapping[tuple[Route, int], Kind] = {
    ("enrol", 200): "json",
    ("desired", 200): "assignment",
    ("desired", 304): "none",
    ("report", 200): "json",
    ("telemetry", 200): "json",
    ("blob", 200): "bytes",
    ("blob", 206): "bytes",
    ("bundle", 200): "json",
}

_MESSAGE = frozenset({"malformed", "unknown-schema", "bad-id", "wrong-device"})

#: (route, status) → codes with which the control plane refuses for good. What it says of itself (busy, full, a fault)
#: and of the token is not here: that may be mended at the host, so it is asked again.
REFUSALS: Mapping[tuple[Route, int], frozenset[str]] = {
    ("enrol", 400): _MESSAGE,
    ("enrol", 409): frozenset({"conflict", "duplicate-device", "version-skew"}),
    ("enrol", 413): frozenset({"too-large"}),
    ("desired", 400): frozenset({"bad-id"}),
    ("desired", 404): frozenset({"not-found"}),
    ("report", 400): _MESSAGE,
    ("report", 404): frozenset({"not-found"}),
    ("report", 413): frozenset({"too-large"}),
    ("telemetry", 400): _MESSAGE,
    ("telemetry", 404): frozenset({"not-found"}),
    ("telemetry", 413): frozenset({"too-large"}),
    ("blob", 400): frozenset({"bad-id"}),
    ("blob", 404): frozenset({"missing-blob"}),
    ("bundle", 400): _MESSAGE | {"bad-path"},
    ("bundle", 404): frozenset({"not-found"}),
    ("bundle", 413): frozenset({"too-large"}),
}

#: Statuses by which anybody on the way says "not now".
PASSING = frozenset({408, 425, 429})


@dataclass(frozen=True)
class Answer:
    """An answer without its wanted body.

    Attributes:
        status: of HTTP.
        headers: by their lower-case names.
        body: its first bytes where it isn't the wanted answer; empty before it was read.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def marked(self) -> bool:
        """Does it bear the control plane's mark?"""
        return bool(self.headers.get(MARK.lower(), "").strip())

    @property
    def is_json(self) -> bool:
        """Does it call itself JSON?"""
        return self._media == "application/json"

    @property
    def is_signed(self) -> bool:
        """… or signed metadata?"""
        return self._media == SIGNED_MEDIA

    @property
    def is_problem(self) -> bool:
        """… or a refusal in RFC 9457's form? No host sends it to devices yet; one may as soon as all agents read it."""
        return self._media == "application/problem+json"

    @property
    def _media(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def length(self) -> int | None:
        """The length that it announces, bytes; None when it doesn't, or not as a number."""
        text = self.headers.get("content-length", "").strip()
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None

    @property
    def retry_after_s(self) -> float:
        """Seconds to be left alone; 0 when it doesn't say. A date is not read: a device's clock may be wrong."""
        text = self.headers.get("retry-after", "").strip()
        return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0.0


def is_wanted(route: Route, answer: Answer) -> bool:
    """May the body be read as what was asked for?"""
    kind = WANTED.get((route, answer.status))
    if kind is None or answer.headers.get("content-encoding", "identity").strip().lower() != "identity":
        return False  # nothing is sent compressed; what is, was touched on its way
    is_assignment = answer.is_json or answer.is_signed
    return {"json": answer.is_json, "assignment": is_assignment, "none": answer.marked, "bytes": True}[kind]


#: Why the host takes this device for another, or for nobody: somebody there can change that.
_OF_IDENTITY = frozenset({"token-spent", "already-enrolled", "identity-revoked", "identity-expired"})


def failure(route: Route, answer: Answer, *, host: str) -> EdgeliftError:
    """What an answer means that isn't the wanted one: a refusal, or trouble on the way.

    Args:
        route: what was asked.
        answer: what came, with the beginning of its body.
        host: whom was asked, for the sentence.
    """
    reply = _reply_of(answer)
    if reply is None:
        return _foreign(answer, host)
    if reply.code in REFUSALS.get((route, answer.status), ()):
        return ContractError(reply.code, reply.error, hint=reply.hint)
    if reply.code in _OF_IDENTITY:
        return _passing(TransportError(reply.code, reply.error, hint=reply.hint), answer)
    code = "not-authorised" if answer.status in (401, 403) else "server-error"
    said = f"{reply.error} ({reply.code})" if reply.code != code else reply.error
    text = "The host did not accept this device" if code == "not-authorised" else "The host failed"
    hint = "Check its token." if code == "not-authorised" else ""
    return _passing(TransportError(code, f"{text}: {said}", hint=hint), answer)


def _reply_of(answer: Answer) -> ErrorReply | None:
    """The control plane's own words; None when they aren't its."""
    if not (answer.marked and (answer.is_json or answer.is_problem)):
        return None
    try:
        reply = msgspec.json.decode(answer.body, type=ErrorReply)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return reply if reply.code in CODES else None


def _foreign(answer: Answer, host: str) -> TransportError:
    status = answer.status
    if status >= 500 or status in PASSING:
        error = TransportError("server-error", f"{host} or a proxy before it failed: it answered {status}.")
    elif status == 407:
        error = TransportError("intercepted", f"A proxy before {host} asks for a sign-in (407).")
    elif 300 <= status < 400 and status != 304:
        to = answer.headers.get("location", "")[:200]
        error = TransportError(
            "intercepted",
            f"{host} was answered for by a redirect ({status}) to {to or 'nowhere'}: a portal or proxy.",
        )
    else:
        what = answer.headers.get("content-type", "")[:80] or "no content type"
        error = TransportError(
            "intercepted", f"Not {host} but something on the way answered {status} ({what}): a portal or proxy."
        )
    return _passing(error, answer)


def _passing(error: TransportError, answer: Answer) -> TransportError:
    error.retry_after_s = answer.retry_after_s
    return error


def check_blob(answer: Answer, sha256: str, offset: int, size_bytes: int, *, host: str) -> int:
    """Where a blob's answer begins, if it is this blob and has its length.

    Args:
        answer: a wanted one, without its body.
        sha256: the blob's digest, as its manifest says.
        offset: from where on it was asked for.
        size_bytes: the blob's whole length, as its manifest says.
        host: whom was asked.

    Returns:
        `offset`, or 0 where ranges are ignored.

    Raises:
        TransportError: `intercepted` when it is another file, or of another length.
    """
    tag = answer.headers.get("etag", "").strip().removeprefix("W/").strip('"')
    if tag != sha256 and (tag or not answer.marked):
        raise TransportError("intercepted", f"What {host} sent for blob {sha256[:12]} is another file.")
    start = 0
    if answer.status == 206:
        if answer.headers.get("content-range", "").strip() != f"bytes {offset}-{size_bytes - 1}/{size_bytes}":
            raise TransportError(
                "intercepted", f"{host} sent another part of blob {sha256[:12]} than was asked for."
            )
        start = offset
    if answer.length != size_bytes - start:
        raise TransportError(
            "intercepted",
            f"{host} announces {answer.length} bytes of blob {sha256[:12]}; its manifest leaves {size_bytes - start}.",
        )
    return start
