"""Which releases of an agent and a control plane work together: the same, or one minor release apart, either way. Pure.

Within that, each reads what the other writes: fields are added with a default and left out while they have it, what is not
known is skipped, and what one can't do yet it isn't asked for (a device's `abilities`). Messages that would mean something
else get another schema number. Farther apart nothing is promised, and nothing is tried: it is refused, with the way on.
"""

from __future__ import annotations

import re

from edgelift_contract.errors import ContractError

#: Minor releases that two may be apart.
FARTHEST = 1

_VERSION = re.compile(r"(\d{1,6})\.(\d{1,6})(?![0-9])")


def minor_of(version: str) -> tuple[int, int] | None:
    """`(0, 3)` of `0.3.1`; None for what doesn't begin with a major and a minor number."""
    found = _VERSION.match(version)
    return (int(found[1]), int(found[2])) if found else None


def check_versions(device: str, agent: str, host: str) -> None:
    """May this agent and this control plane work together?

    Args:
        device: whose agent.
        agent: its version; empty from one of before versions were told, which is let in: schema numbers still hold.
        host: the control plane's, likewise.

    Raises:
        ContractError: `version-skew`.
    """
    one, other = minor_of(agent), minor_of(host)
    if one is None or other is None:
        return
    if one[0] == other[0] and abs(one[1] - other[1]) <= FARTHEST:
        return
    if one < other:
        hint = (
            f"Update edgelift on {device}{_to(other, -FARTHEST)}; what it serves goes on meanwhile. Or go one minor release"
            " at a time, the control plane before its devices."
        )
    else:
        hint = f"Update the control plane first{_to(one, -FARTHEST)}; what {device} serves goes on meanwhile."
    raise ContractError(
        "version-skew",
        f"The agent of {device} is release {agent}, the control plane {host}: more than {FARTHEST} minor release apart.",
        hint=hint,
    )


def _to(version: tuple[int, int], step: int) -> str:
    """The least release that goes with a version, in words."""
    return f", to {version[0]}.{max(0, version[1] + step)} at least"
