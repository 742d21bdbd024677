"""Bodies of rows, read so that one that can't be read costs its own device and nothing else.

A body may be unreadable because the disk damaged it, a person edited it, or an older release took what this one
refuses. Whoever reads bodies asks here: `decode_row` where the device (release, rollout) itself is the business, so that
the refusal is its answer; `read_row` where many are read together, so that the others go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from edgelift_contract.errors import ContractError

T = TypeVar("T")


UNREADABLE = "unreadable-row"
SPENT = "revisions-spent"


@dataclass(frozen=True)
class Fault:
    """Why something is set apart: what is unreadable (`facts`, `assignment` …), the code, what is wrong, what to do."""

    what: str
    code: str
    message: str
    hint: str


class UnreadableRow(ContractError):
    """A row can't be read; `fault` says which."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.code, fault.message, hint=fault.hint)
        self.fault = fault


def decode_row(body: str | bytes, kind: type[T], *, owner: str, what: str, hint: str = "") -> T:
    """A row's body as `kind`.

    Args:
        body: as it is stored.
        kind: a msgspec type.
        owner: whose row, as `pi-1`, `digits@2` or `r7`.
        what: which of its rows, as `assignment`.
        hint: what to do; mending the device when left out.

    Raises:
        UnreadableRow: `unreadable-row`.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError) as error:
        message = f"What is stored as the {what} of {owner} can't be read: {error}."
        fault = Fault(what, UNREADABLE, message, hint or f"Mend it: edgelift devices mend {owner}.")
        raise UnreadableRow(fault) from error


def read_row(
    body: str | bytes, kind: type[T], *, owner: str, what: str, into: list[Fault], hint: str = ""
) -> T | None:
    """The same among others: None where it can't be read, and the fault is added to `into`."""
    try:
        return decode_row(body, kind, owner=owner, what=what, hint=hint)
    except UnreadableRow as error:
        into.append(error.fault)
        return None


def is_readable(body: str | bytes, kind: Any) -> bool:
    """Would it be read?"""
    try:
        msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError):
        return False
    return True
