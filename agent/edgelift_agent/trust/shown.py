"""What is trusted, for people: `status` and `doctor` show it. Nothing is decided by it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from edgelift_agent.trust.trusted import Trusted
from edgelift_contract.signed import DIRECTOR, IMAGE


class _Said(msgspec.Struct):
    version: int = 0
    expires: datetime | None = None


class _Role(msgspec.Struct):
    signed: _Said


def shown(kept: Trusted | None) -> dict[str, Any]:
    """As JSON; empty while nobody is trusted.

    Gives `roots` (repository → `version`, `expires` in seconds since 1970, 0 where it can't be read), `floor` (the latest
    time that was signed for this device) and `heard_at` (this device's clock at its last fresh answer), both 0 for never.
    """
    if kept is None:
        return {}
    roots = {name: _root(kept.files.get(f"{name}/root.json", "")) for name in (DIRECTOR, IMAGE)}
    return {"roots": roots, "floor": kept.floor, "heard_at": kept.heard_at}


def _root(text: str) -> dict[str, float]:
    try:
        said = msgspec.json.decode(text, type=_Role).signed
    except (msgspec.MsgspecError, RecursionError):
        said = _Said()
    return {"version": said.version, "expires": said.expires.timestamp() if said.expires else 0.0}
