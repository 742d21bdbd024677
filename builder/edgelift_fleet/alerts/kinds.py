"""What can be wrong: each code with how bad it is, what it says and what to do. Words only.

The one table of them: alerts, the console and the metrics speak of a trouble by what stands here. A code is a wire format,
as those of `edgelift_contract.errors`: never renamed. docs/alerts.md lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Severity = Literal["notice", "warning", "critical"]
About = Literal["device", "rollout", "receiver", "site"]


@dataclass(frozen=True)
class Kind:
    """One kind of trouble.

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
        alerts: there is an alert of it; without, it stands in the console alone.
        here: what to do, on the device's own page, where that is something else.
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
    alerts: bool = True
    here: str = ""

    @property
    def tone(self) -> str:
        """How bad it is as a page shows it: `bad`, `warn` or `busy`."""
        return _TONES[self.severity]


_TONES = {"critical": "bad", "warning": "warn", "notice": "busy"}


def _of_board(
    one: str, many: str, over: str, todo: str, severity: Severity = "warning", *, measured: bool = False
) -> Kind:
    """Something that a board says of itself."""
    return Kind(
        "device", severity, one, many, over, todo, needs_word=True, measured=measured, begins=True, ends=True
    )


#: In the order in which people are shown them: what waits for a person, then the worst.
TROUBLES: Mapping[str, Kind] = {
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
    "signature-ends": Kind(
        "site", "critical", "has signatures that end soon", "", "is signed anew",
        "Renew them: edgelift keys renew; docs/trust-keys.md.",
    ),
    "faulty": Kind(
        "device", "critical", "can't be read in part: nothing is assigned to it",
        "can't be read in part: nothing is assigned to them", "can be read again",
        "Open it to see what; then mend it: edgelift device mend NAME.", alerts=False,
        here="Mend it: edgelift device mend NAME.",
    ),
    "duplicate-device": Kind(
        "device", "critical", "shares its id with another board", "share their id with another board",
        "has its id for itself again",
        "A card was cloned: give one of them another id, then edgelift device replace NAME.", ends=True, needs_word=True,
    ),
    "failing": Kind(
        "device", "critical", "could not take what it should run", "could not take what they should run",
        "runs what it should again",
        "What it had serves on. Open it to see why; then build or assign another release.", alerts=False,
        here="What it had serves on. Build or assign another release, or keep what it has, below.",
    ),
    "offline": Kind(
        "device", "critical", "is offline", "are offline", "is heard again",
        "Look whether it has power and network; of many at once, whether their site's uplink stands. What is committed "
        "on it serves meanwhile.",
        ends=True,
    ),
    "under-voltage": _of_board(
        "has too little voltage", "have too little voltage", "has its voltage again",
        "Give it a better power supply or a shorter cable: cards are damaged so.",
    ),
    "hot": _of_board(
        "is hot", "are hot", "is cool again",
        "Look at its fan, its case and where it stands: above this it will soon be throttled.", measured=True,
    ),
    "throttled": _of_board(
        "is throttled", "are throttled", "runs at its full speed again",
        "Its processor is slowed down, so its latency says nothing of a model: cool it, or give it a better power supply.",
        measured=True,
    ),
    "disk-low": _of_board(
        "has little disk space left", "have little disk space left", "has disk space again",
        "Free some space on its disk: updates need room beside what serves.", measured=True,
    ),
    "degraded": _of_board(
        "is degraded", "are degraded", "is whole again",
        "See edgelift-agent doctor on the board, and docs/degraded.md: it serves, and something around it is broken.",
    ),
    "certificate-ends": Kind(
        "device", "warning", "has a certificate that ends soon", "have certificates that end soon",
        "has a certificate that holds again",
        "It renews it by itself as long as it reaches the server: look why it doesn't (edgelift device show NAME); one that "
        "has ended is enrolled again: edgelift-agent enroll.",
    ),
    "receiver-failing": Kind(
        "receiver", "warning", "does not take what it should be told", "", "takes messages again",
        "Ask it by edgelift alert test NAME, and mend its address, its secret or itself.",
    ),
}  # fmt: skip
#: Those of which there is an alert.
KINDS: Mapping[str, Kind] = {code: kind for code, kind in TROUBLES.items() if kind.alerts}
