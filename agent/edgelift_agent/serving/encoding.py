"""Content encodings of bodies: gzip and deflate, bounded by what they become, not by what they are."""

from __future__ import annotations

import gzip
import zlib

from edgelift_contract.errors import ContractError

#: Of the two that clients offer (tritonclient among them); the level is the quickest, for the link is a short one.
_LEVEL = 1
KNOWN = (b"gzip", b"deflate")


def decode_body(body: bytes, encoding: bytes, limit_bytes: int) -> bytes:
    """What a body was before its client compressed it.

    `deflate` is taken in zlib's wrapping, as the standard says, and without, as some clients send it.

    Raises:
        ContractError: `bad-request` for another encoding or bytes that are not in it, `too-large` beyond the limit:
            noticed while unpacking, so that no more than the limit is ever in memory.
    """
    if encoding not in KNOWN:
        raise ContractError(
            "bad-request", f"The content encoding {encoding[:40]!r} is not known here; gzip and deflate are."
        )
    try:
        if encoding == b"gzip":
            return _unpack(body, 16 + zlib.MAX_WBITS, limit_bytes)
        raw = not body[:1] or body[0] & 0x0F != 8 or int.from_bytes(body[:2], "big") % 31
        return _unpack(body, -zlib.MAX_WBITS if raw else zlib.MAX_WBITS, limit_bytes)
    except zlib.error as error:
        raise ContractError("bad-request", f"The body is not {encoding.decode()}: {error}.") from error


def _unpack(body: bytes, wbits: int, limit_bytes: int) -> bytes:
    pieces, size = [], 0
    while True:
        stream = zlib.decompressobj(wbits)
        pieces.append(stream.decompress(body, limit_bytes + 1 - size))
        size += len(pieces[-1])
        if size > limit_bytes:
            raise ContractError("too-large", f"Unpacked, the request has more than {limit_bytes} bytes.")
        if not stream.eof:
            raise zlib.error("it ends too soon")
        body = stream.unused_data
        if not body:
            return b"".join(pieces)
        if wbits != 16 + zlib.MAX_WBITS:
            raise zlib.error("something follows its end")


def wanted_encoding(accepted: bytes | None) -> bytes | None:
    """In which encoding to answer; None for none.

    Only for a client that names exactly one: lists of all that a library can unpack are sent by libraries unasked,
    and on a short link packing costs more than it saves.
    """
    return accepted if accepted in KNOWN else None


def encode_body(body: bytes, encoding: bytes) -> bytes:
    """A body in `gzip` or `deflate`."""
    return gzip.compress(body, _LEVEL, mtime=0) if encoding == b"gzip" else zlib.compress(body, _LEVEL)
