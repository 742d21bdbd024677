"""What a route declares of its answers: each code of a refusal has one status, and each route says by which codes it
refuses. The OpenAPI document is drawn from it, and a refusal that its route does not declare is told in the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from edgelift_contract.errors import CODES, LINKS

#: Member of a response in a route's table, and in the document: the codes that come with this status.
CODES_KEY = "x-error-codes"

#: What this server says of itself: any route may answer so.
FAULTS = frozenset({
    "internal", "disk-error", "read-only", "no-memory", "no-descriptors", "bad-config", "tool-missing",
})  # fmt: skip
#: code → status, but for faults (500), links (503) and what the caller must mend in its message (400). `busy` is 429
#: where it says when to come again.
STATUS: Mapping[str, int] = {
    "not-authorised": 401,
    "token-spent": 401,
    "identity-revoked": 403,
    "identity-expired": 403,
    "already-enrolled": 409,
    "role-too-low": 403,
    "too-many-tries": 429,
    "not-found": 404,
    "missing-blob": 404,
    "wrong-method": 405,
    "not-acceptable": 406,
    "agent-too-old": 409,
    "version-skew": 409,
    "conflict": 409,
    "blobs-wanted": 409,
    "retired": 409,
    "unreadable-row": 409,
    "revisions-spent": 409,
    "wrong-hardware-class": 409,
    "runtime-missing": 409,
    "changed-meanwhile": 412,
    "too-large": 413,
    "wrong-media-type": 415,
    "key-reused": 422,
    "disk-full": 507,
    "busy": 503,
}

#: Whatever a route does: it has a token, a database and a machine.
_ALWAYS = FAULTS | {"not-authorised", "busy", "disk-full"}
_WITH_BODY = frozenset({"malformed", "too-large"})
_WITH_PARAMETERS = frozenset({"malformed"})
#: What a device shows may be another's, or hold no more.
OF_DEVICES = frozenset({"wrong-device", "identity-revoked", "identity-expired", "already-enrolled"})
#: Operators' tools say what they send and what they take; devices send JSON alone. A name that an address can't have is
#: refused to operators.
_OF_OPERATORS = frozenset({"not-acceptable", "malformed", "role-too-low"})
_OF_OPERATORS_WITH_BODY = frozenset({"wrong-media-type"})


def status_of_code(code: str) -> int:
    """The HTTP status that a code comes with."""
    default = 500 if code in FAULTS else 503 if code in LINKS else 400
    return STATUS.get(code, default)


def sentence(code: str) -> str:
    """What a code means, as a sentence."""
    return f"{CODES[code][0].upper()}{CODES[code][1:]}."


def universal(*, operators: bool, body: bool, parameters: bool) -> frozenset[str]:
    """Codes of every route of a side, by what its requests have."""
    codes = _ALWAYS
    codes |= _WITH_PARAMETERS if parameters else frozenset()
    codes |= _WITH_BODY if body else frozenset()
    if not operators:
        codes |= OF_DEVICES
    if operators:
        codes |= _OF_OPERATORS | (_OF_OPERATORS_WITH_BODY if body else frozenset())
    return codes


def refusals(codes: Iterable[str]) -> dict[int | str, dict[str, Any]]:
    """Status → the response in a route's table, of the codes by which a route refuses.

    Raises:
        ValueError: for a code that is none.
    """
    made: dict[int | str, dict[str, Any]] = {}
    for code in sorted(codes):
        if code not in CODES:
            raise ValueError(f"{code!r} is no code of edgelift_contract.errors.CODES")
        response = made.setdefault(status_of_code(code), {"description": "", CODES_KEY: []})
        response[CODES_KEY].append(code)
        response["description"] = " ".join(f"`{one}`: {CODES[one]}." for one in response[CODES_KEY])
    return made


def declared_codes(responses: Mapping[Any, Mapping[str, Any]]) -> frozenset[str]:
    """The codes in a route's table of responses."""
    return frozenset(code for response in responses.values() for code in response.get(CODES_KEY, ()))


def is_declared(route: object, code: str) -> bool:
    """May a route refuse with a code? One that has no table, as where no route was found, may."""
    responses = getattr(route, "responses", None)
    if responses is None:
        return True
    return code in declared_codes(responses) | universal(operators=True, body=True, parameters=True) | OF_DEVICES
