"""Lengths of time as people write them: in commands, plans and forms alike."""

from __future__ import annotations

import re

from edgelift_contract.errors import ContractError

#: Longest time that a person may name, seconds: thirty years. JSON has no form for an endless one.
LONGEST_S = 1_000_000_000


def seconds(text: str) -> float:
    """A time as `10s`, `5m`, `2h`, `1d` or plain seconds, in seconds.

    Raises:
        ContractError: `malformed`.
    """
    match = re.match(r"^([0-9]+(?:\.[0-9]+)?)\s*(s|m|min|h|d|)\Z", text.strip())
    if not match:
        raise ContractError("malformed", f"{text!r} is not a time.", hint="Write 10s, 5m, 2h or 1d.")
    found = float(match[1]) * {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}[match[2]]
    if found > LONGEST_S:
        raise ContractError("malformed", f"{text[:20]}… is too long a time.", hint=f"At most {LONGEST_S} s.")
    return found
