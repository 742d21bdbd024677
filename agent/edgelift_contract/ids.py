"""Names that travel: device ids, models, slots, digests.

A name ends up in MQTT topics, URL paths and file names, so each kind has one narrow form, checked where it
enters. `/`, `+` and `#` in a device id would let one device speak for others (as CVE-2017-7650 showed).
"""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta

from edgelift_contract.errors import ContractError

DEVICE_ID_PATTERN = r"^[a-z0-9-]{1,64}\Z"
NAME_PATTERN = r"^[a-z0-9][a-z0-9_.-]{0,63}\Z"
VERSION_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}\Z"
SHA256_PATTERN = r"^[0-9a-f]{64}\Z"

DeviceId = Annotated[str, Meta(pattern=DEVICE_ID_PATTERN)]
Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
Version = Annotated[str, Meta(pattern=VERSION_PATTERN)]
Sha256 = Annotated[str, Meta(pattern=SHA256_PATTERN)]
Bytes = Annotated[int, Meta(ge=0, le=2**50)]
LARGEST_COUNT = 2**53
#: A count or running number: never negative, and no larger than JSON's readers and databases keep to the unit.
Count = Annotated[int, Meta(ge=0, le=LARGEST_COUNT)]
#: Number of a generation, one more with each swap: what a database's plain integer holds.
Generation = Annotated[int, Meta(ge=0, le=2**31 - 1)]
#: What tells one process, or one outbox, of a device from its next: printable ASCII without spaces.
Epoch = Annotated[str, Meta(pattern=r"^[!-~]{1,128}\Z")]
#: 128 bits that a device made up, in hexadecimal; empty for none.
Nonce = Annotated[str, Meta(pattern=r"^([0-9a-f]{32})?\Z")]


def check_device_id(text: str) -> str:
    """Return `text` if it is a device id.

    Raises:
        ContractError: `bad-id`, naming the first character that does not fit.
    """
    if re.match(DEVICE_ID_PATTERN, text):
        return text
    wrong = next((c for c in text if not re.match(r"[a-z0-9-]", c)), None)
    reason = f"contains {wrong!r}" if wrong else f"has {len(text)} characters"
    raise ContractError(
        "bad-id",
        f"The device id {text[:80]!r} {reason}.",
        hint="Use 1 to 64 of a-z, 0-9 and '-': the id becomes part of MQTT topics and URLs.",
    )


def check_name(kind: str, text: str) -> str:
    """Return `text` if it can name a `kind` (model, slot, tag).

    Raises:
        ContractError: `bad-id`.
    """
    if re.match(NAME_PATTERN, text):
        return text
    raise ContractError(
        "bad-id",
        f"The {kind} name {text!r} is not valid.",
        hint="Use up to 64 of a-z, 0-9, '_', '.' and '-', beginning with a letter or digit.",
    )


def check_sha256(text: str) -> str:
    """Return `text` if it is 64 lower-case hexadecimal digits.

    Raises:
        ContractError: `bad-id`.
    """
    if re.match(SHA256_PATTERN, text):
        return text
    raise ContractError("bad-id", f"{text[:80]!r} is not a SHA-256 digest.", hint="Expected 64 of 0-9 and a-f.")


def parse_release(text: str) -> tuple[str, str]:
    """Split `model@version`, as in `digits@2`.

    Raises:
        ContractError: `bad-id`.
    """
    model, at, version = text.partition("@")
    if not at or not re.match(VERSION_PATTERN, version):
        raise ContractError(
            "bad-id", f"{text!r} does not name a release.", hint="Write model@version, as in digits@2."
        )
    return check_name("model", model), version
