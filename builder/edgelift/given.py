"""What people write on the command line, read: times and tags."""

from __future__ import annotations

import re

from edgelift_contract.errors import ContractError

_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def days_of(text: str) -> float:
    """`7d` and the like, in days. Raises ContractError `malformed`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text.strip())
    if found is None:
        raise ContractError("malformed", f"{text!r} is no time.", hint="Write it as 30m, 12h, 7d or 4w.")
    return float(found[1]) * _SECONDS[found[2]] / 86400.0


def tags_of(text: str) -> dict[str, str]:
    """`a=b,c` as tags."""
    return {
        key.strip(): value.strip()
        for key, _, value in (one.partition("=") for one in text.split(","))
        if key.strip()
    }
