"""Bytes in, checked messages out; messages in, canonical bytes out.

Canonical JSON here means: keys sorted, no white space, UTF-8, floats as the shortest text that reads back the
same. An artifact's id is the SHA-256 of its manifest in this form, so the form may never change.

Every decoder bounds the size before it parses, names the field that is wrong, and asks for the schema number
first: a message from a newer release is refused as `unknown-schema`, not as a puzzle of missing fields.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar

import msgspec

from edgelift_contract.bounds import Schema
from edgelift_contract.errors import ContractError

T = TypeVar("T")

#: Nothing that is parsed as a message may be larger, in bytes, unless its caller says otherwise.
MAX_MESSAGE_BYTES = 1 << 20


class _SchemaOnly(msgspec.Struct):
    schema: Schema


def canonical_json(message: Any) -> bytes:
    """The one byte form of `message`. Law: `decode_json(canonical_json(m), type(m), …) == m`."""
    return msgspec.json.encode(message, order="sorted")


def recoded(data: bytes, *, what: str) -> bytes:
    """The same JSON in the one byte form, with the fields that nobody here knows: a proxy may write it its own way.

    Raises:
        ContractError: `malformed`: what was passed over when it was read may hold anything.
    """
    try:
        return canonical_json(msgspec.json.decode(data))
    except (msgspec.MsgspecError, UnicodeDecodeError, OverflowError, RecursionError) as error:
        raise misread(error, None, None, what=what) from error


def digest(data: bytes) -> str:
    """SHA-256 of `data`, 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def decode_json(data: bytes, kind: type[T], *, what: str, limit_bytes: int = MAX_MESSAGE_BYTES) -> T:
    """Read `kind` from JSON.

    Args:
        data: the raw message.
        kind: a msgspec type.
        what: how to name the message to a person, as in "manifest".
        limit_bytes: the most that `data` may hold.

    Raises:
        ContractError: `too-large`, `malformed` with the field's path, or `unknown-schema`.
    """
    _bound(data, what, limit_bytes)
    _check_schema(data, kind, what, msgspec.json.decode)
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(error, data, kind, what, msgspec.json.decode) from error


def decode_msgpack(data: bytes, kind: type[T], *, what: str, limit_bytes: int = MAX_MESSAGE_BYTES) -> T:
    """Read `kind` from MessagePack. Raises as `decode_json` does."""
    _bound(data, what, limit_bytes)
    _check_schema(data, kind, what, msgspec.msgpack.decode)
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(error, data, kind, what, msgspec.msgpack.decode) from error


def convert(value: Any, kind: type[T], *, what: str) -> T:
    """Plain objects, as TOML reads them, as `kind`. Raises ContractError `malformed`, with the field's path."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise misread(error, kind, value, what=what) from error


def misread(error: Exception, kind: Any, value: Any, *, what: str) -> ContractError:
    """The refusal `malformed` of what a decoder could not read; the arguments are those of `misread.explain`."""
    from edgelift_contract.misread import explain  # only where something is refused: a device need not hold it

    wrong, hint = explain(error, kind, value)
    return ContractError("malformed", f"The {what} is not valid: {wrong}.", hint=hint)


def _malformed(error: Exception, data: bytes, kind: Any, what: str, decode: Any) -> ContractError:
    if not data.strip():
        return ContractError("malformed", f"The {what} is empty.")
    try:
        value = decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value = None
    return misread(error, kind, value, what=what)


def encode_msgpack(message: Any) -> bytes:
    """MessagePack with sorted keys: the same message gives the same bytes."""
    return msgspec.msgpack.encode(message, order="sorted")


def _bound(data: bytes, what: str, limit_bytes: int) -> None:
    if len(data) > limit_bytes:
        raise ContractError("too-large", f"The {what} has {len(data)} bytes; at most {limit_bytes} are allowed.")


def _check_schema(data: bytes, kind: type[T], what: str, decode: Any) -> None:
    known = getattr(kind, "SCHEMA", None)
    if known is None:
        return
    try:
        found = decode(data, type=_SchemaOnly).schema
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        wrong = misread(error, _SchemaOnly, None, what=what).message.partition(": ")[2]
        raise ContractError(
            "malformed",
            f"The {what} has no readable schema number: {wrong}",
            hint=f"This program reads schema {known}.",
        ) from error
    if found != known:
        raise ContractError(
            "unknown-schema",
            f"The {what} has schema {found}; this program reads schema {known}.",
            hint="Update edgelift on this machine, or build the artifact with a matching release.",
        )
