"""What a simulated fleet did, in numbers: the progress line and the figures at the end."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

import msgspec

from edgelift_contract.errors import CODES, LINKS, ContractError, TransportError


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What a simulation did.

    Attributes:
        boards, connected, offline: how many there are, are linked to the host now, and are off or cut.
        kept_out: error code → boards that the host has never let in, by what their last try ended with.
        enrolled, polls, assignments, reports, batches, windows, reconnects: how often since the start.
        running: model@version → boards that serve it now.
        updates: outcome → how many updates ended so; by_code: of those that did not commit.
        refused: error code → how often the host refused a message for good.
        link_errors, last_error: connections that failed or broke, and the last one's reason.
        waiting, dropped: telemetry that the host has not confirmed, and that was forgotten for want of room.
        seconds, cpu_s: since the start; and this process's processor time.
    """

    boards: int
    connected: int
    offline: int
    kept_out: dict[str, int]
    enrolled: int
    polls: int
    assignments: int
    reports: int
    batches: int
    windows: int
    reconnects: int
    running: dict[str, int]
    updates: dict[str, int]
    by_code: dict[str, int]
    refused: dict[str, int]
    link_errors: int
    last_error: str
    waiting: int
    dropped: int
    seconds: float
    cpu_s: float


@dataclass
class Counts:
    """Counted as it happens."""

    enrolled: int = 0
    polls: int = 0
    assignments: int = 0
    reports: int = 0
    batches: int = 0
    windows: int = 0
    reconnects: int = 0
    link_errors: int = 0
    last_error: str = ""
    updates: Counter[str] = field(default_factory=Counter)
    by_code: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    began: float = field(default_factory=time.monotonic)
    cpu_began: float = field(default_factory=time.process_time)

    def note(self, board: str, error: Exception) -> None:
        """A board's link failed or broke."""
        self.link_errors += 1
        self.last_error = f"{board}: {error}"


def refuse_kept_out(end: Figures) -> None:
    """A simulation in which boards never got in was not of the fleet that was asked for.

    Raises:
        TransportError, ContractError: with the code by which most of them were kept out.
    """
    if not end.kept_out:
        return
    most = max(sorted(end.kept_out), key=lambda code: end.kept_out[code])
    reasons = ", ".join(f"{count} {code}" for code, count in sorted(end.kept_out.items()))
    last = (
        f" The last link broke so: {end.last_error}." if "unreachable" in end.kept_out and end.last_error else ""
    )
    raise (TransportError if most in LINKS else ContractError)(
        most if most in CODES else "server-error",
        f"{sum(end.kept_out.values())} of {end.boards} boards never got in: {reasons}.{last}",
        hint=_HINTS.get(most, ""),
    )


_HINTS = {
    "already-enrolled": "Boards of these names came before: name their certificates by --keep, or others by --prefix.",
    "token-spent": "Name a token for so many boards, or none, and one is made for them.",
    "timed-out": "It ended before they had an answer: let it last longer.",
}


def progress_line(now: Figures) -> str:
    """One line for people."""
    running = ", ".join(f"{release} {count}" for release, count in sorted(now.running.items())) or "nothing runs"
    parts = [f"{now.connected} of {now.boards} boards connected", running]
    if now.updates:
        parts.append(
            "updates: " + ", ".join(f"{count} {outcome}" for outcome, count in sorted(now.updates.items()))
        )
    parts.append(f"{now.windows} windows told, {now.waiting} wait")
    if now.refused:
        parts.append("refused: " + ", ".join(f"{count} {code}" for code, count in sorted(now.refused.items())))
    if now.link_errors:
        parts.append(f"{now.link_errors} links broke, last {now.last_error}")
    return " · ".join(parts)
