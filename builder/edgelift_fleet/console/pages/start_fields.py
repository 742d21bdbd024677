"""The fields of the form that starts a rollout: the words of `edgelift rollout start`, read into the same request. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgelift_contract import codec
from edgelift_contract.assignment import Policy
from edgelift_contract.errors import ContractError
from edgelift_contract.spans import seconds
from edgelift_fleet.messages import RolloutRequest

#: Field → what it holds before anybody typed; what `edgelift rollout start` does without the option.
DEFAULTS: dict[str, str] = {
    "to": "", "waves": "1,25%,100%", "soak": "0s", "max_failures": "0", "name": "", "approval": "", "on_breach": "rollback",
    "keep_earlier": "", "probation": "5m", "min_requests": "20", "deadline": "1h", "concurrency": "0", "retries": "0",
    "windows": "", "gate_unmeasured": "pause", "late_joiners": "in", "allow_older": "", "seed": "",
}  # fmt: skip
#: Those that are ticked.
TICKED = ("approval", "keep_earlier", "allow_older")
#: Those that the page shows without being asked for more.
FIRST = ("to", "waves", "soak", "max_failures", "name", "approval")


def typed(given: Mapping[str, str]) -> dict[str, str]:
    """What stands in each field: as it was typed where the form was sent, else as before."""
    sent = "to" in given
    return {name: given.get(name, "" if sent and name in TICKED else usual) for name, usual in DEFAULTS.items()}


def request_of(release: str, fields: Mapping[str, str], comment: str = "") -> RolloutRequest:
    """What the fields ask for.

    Args:
        release: as `digits@2`.
        fields: as `typed` gives them.
        comment: why, for people.

    Raises:
        ContractError: `malformed`, naming the field.
    """
    plan: dict[str, Any] = {"release": release, "comment": comment}
    policy: dict[str, Any] = {}
    for field, (name, understand) in _READ.items():
        try:
            value = understand(fields.get(field, "").strip())
        except ContractError as error:
            raise ContractError(error.code, f"{field}: {error.message}", hint=error.hint) from error
        if value is not None:
            (policy if name in Policy.__struct_fields__ else plan)[name] = value
    return codec.convert({**plan, "policy": policy}, RolloutRequest, what="plan")


def _text(text: str) -> str | None:
    return text or None


def _selector(text: str) -> str:
    return text  # an empty one is refused by who reads selectors, with what to write


def _list_of(separator: str) -> Callable[[str], list[str]]:
    return lambda text: [part.strip() for part in text.split(separator) if part.strip()]


def _seconds(text: str) -> float | None:
    return seconds(text) if text else None


def _whole(text: str) -> int | None:
    if text and not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise ContractError("malformed", f"{text[:40]!r} is no whole number.", hint="Write digits alone, as 20.")
    return int(text) if text else None


def _is_ticked(text: str) -> bool:
    return bool(text)


#: Field → the request's or its policy's, and how it is read; None leaves that as it is by default.
_READ: dict[str, tuple[str, Callable[[str], Any]]] = {
    "to": ("to", _selector),
    "waves": ("waves", _list_of(",")),
    "soak": ("soak_s", _seconds),
    "max_failures": ("max_failures", _text),
    "name": ("name", _text),
    "approval": ("approval", _is_ticked),
    "on_breach": ("on_breach", _text),
    "keep_earlier": ("keep_earlier", _is_ticked),
    "probation": ("probation_s", _seconds),
    "min_requests": ("probation_min_requests", _whole),
    "deadline": ("deadline_s", _seconds),
    "concurrency": ("concurrency", _whole),
    "retries": ("retries", _whole),
    "windows": ("windows", _list_of(";")),
    "gate_unmeasured": ("gate_unmeasured", _text),
    "late_joiners": ("late_joiners", _text),
    "allow_older": ("allow_older", _is_ticked),
    "seed": ("seed", _whole),
}
