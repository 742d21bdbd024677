"""A look into what a broker retains, before anything is verified: is it worth that, or no more than a doorbell?

What is retained is handed out at each connect, long after it was signed, and may be signed for a question of yesterday, or
not at all where it would be too large for a broker. None of this is a fault, and none of it is believed: it decides only
whether it is opened, left alone or asked for over HTTP.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edgelift_contract import codec
from edgelift_contract.errors import ContractError
from edgelift_contract.signed import ASSIGNMENT, DIRECTOR, Told, is_signed, unpack_signed

#: `open` it; leave it alone, as it says what is `known`; `ask` for what is wanted.
Worth = Literal["open", "known", "ask"]


class _Timestamp(msgspec.Struct):
    signed: Told


def worth(data: bytes, *, device: str, held: str, nonce: str, limit_bytes: int) -> Worth:
    """What to do about it.

    Args:
        data: as it came, at most a byte longer than allowed.
        device: this one's id.
        held: SHA-256 of the assignment that is held; empty for none.
        nonce: what this device asks to have signed.
        limit_bytes: what is longer was cut.
    """
    if len(data) > limit_bytes or not is_signed(data):
        return "ask"
    try:
        files = unpack_signed(data, device=device).files
        text = files.get(f"{DIRECTOR}/timestamp.json", "").encode()
        told = codec.decode_json(text, _Timestamp, what="timestamp", limit_bytes=len(text)).signed
    except ContractError:
        return "open"  # and there it is refused, with its reason
    says = codec.digest(files.get(f"{DIRECTOR}/{ASSIGNMENT}", "").encode())
    return "known" if held == says and told.nonce != nonce else "open"
