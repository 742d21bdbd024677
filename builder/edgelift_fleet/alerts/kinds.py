"""The alerts that there are: each code with how bad it is, what it says and what to do. Words only.

A code is a wire format, as those of `edgelift_contract.errors`: never renamed. docs/alerts.md lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Severity = Literal["notice", "warning", "critical"]
About = Literal["device", "rollout", "receiver", "site"]


@dataclass(frozen=True)
class Kind:
    """One alert.

    Attributes:
        about: what has it. Boards with the same code are told of together.
        severity: how bad it is.
        one: what is wrong, of one, after its name.
        many: the same of several boards, after their number.
        over: that it has ended, as `one`.
        todo: what to do.
        needs_word: only a board that is heard can say that it holds or has ended.
        measured: the text has a figure that changes all the time: the first one is kept.
        tells_end: people are told that it has ended.
        begins, ends: the settings' times hold for it; without, it begins and ends at once.
    """

    about: About
    severity: Severity
    one: str
    many: str
    over: str
    todo: str
    needs_word: bool = False
    measured: bool = False
    tells_end: bool = True
    begins: bool = False
    ends: bool = False


def _of_board(
    one: str, many: str, over: str, todo: str, severity: Severity = "warning", *, measured: bool = False
) -> Kind:
    """Something that a board says of itself."""
    return Kind(
        "device", severity, one, many, over, todo, needs_word=True, measured=measured, begins=True, ends=True
    )


KINDS: Mapping[str, Kind] = {
    "offline": Kind(
        "device", "critical", "is silent", "are silent", "is heard again",
        "Look whether it has power and network; of many at once, whether their site's uplink stands. What is committed "
        "on it serves meanwhile.",
        ends=True,
    ),
    "hot": _of_board(
        "is hot", "are hot", "is cool again",
        "Look at its fan, its case and where it stands: above this it will soon be throttled.", measured=True,
    ),
    "throttled": _of_board(
        "is throttled", "are throttled", "runs at its full speed again",
        "Its processor is slowed down, so its latency says nothing of a model: cool it, or give it a better power supply.",
    ),
    "under-voltage": _of_board(
        "has too little voltage", "have too little voltage", "has its voltage again",
        "Give it a better power supply or a shorter cable: cards are damaged so.",
    ),
    "disk-low": _of_board(
        "has little disk space left", "have little disk space left", "has disk space again",
        "Free some space on its disk: updates need room beside what serves.", measured=True,
    ),
    "degraded": _of_board(
        "is degraded", "are degraded", "is whole again",
        "See edgelift-agent doctor on the board, and docs/degraded.md: it serves, and something around it is broken.",
    ),
    "duplicate-device": Kind(
        "device", "critical", "is two boards under one id", "ids have two boards each", "is one board again",
        "A card was cloned: give one of them another id, then edgelift device replace NAME.", ends=True, needs_word=True,
    ),
    "certificate-ends": Kind(
        "device", "warning", "has a certificate that ends soon", "have certificates that end soon",
        "has a certificate that holds again",
        "It renews it by itself as long as it reaches the server: look why it doesn't (edgelift device show NAME); one that "
        "has ended is enrolled again: edgelift-agent enroll.",
    ),
    "gate-breach": Kind(
        "rollout", "critical", "was stopped by a gate", "", "goes on, or has ended",
        "Read what the gate measured, then resume or roll it back: edgelift rollout resume | rollback NAME.",
    ),
    "rollout-paused": Kind(
        "rollout", "warning", "is paused and waits for a person", "", "goes on, or has ended",
        "Read why, then resume or roll it back: edgelift rollout resume | rollback NAME.",
    ),
    "rolled-back": Kind(
        "rollout", "warning", "is rolled back", "", "",
        "Read why (edgelift rollout show NAME) before the release is given out again.", tells_end=False,
    ),
    "needs-approval": Kind(
        "rollout", "notice", "waits for a person's approval", "", "no longer waits for approval",
        "Look at it, then approve the wave: edgelift rollout approve NAME.",
    ),
    "receiver-failing": Kind(
        "receiver", "warning", "does not take what it should be told", "", "takes messages again",
        "Ask it by edgelift alert test NAME, and mend its address, its secret or itself.",
    ),
    "signature-ends": Kind(
        "site", "critical", "has signatures that end soon", "", "is signed anew",
        "Renew them: edgelift keys renew; docs/trust-keys.md.",
    ),
}  # fmt: skip
