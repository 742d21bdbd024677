"""Who speaks under one device's id: two processes that take turns are two devices, as after a card was cloned.

Every process of an agent has an epoch of its own. A device that restarts begins a new epoch and never speaks in the
old one again, but for a message that was long on its way. So an epoch that was left behind and comes back, with
something new to say, more than such a straggler would, is another device. `hear` is that rule, without I/O; what was
heard is kept in memory only: a server that restarts hears the two again.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace

from edgelift_contract.text import clean

log = logging.getLogger(__name__)

#: Times that epochs must have come back, all together: one straggler makes two (it comes, and the other goes on).
MIN_RETURNS = 3
#: How long a silent epoch is remembered, seconds: a device polls at least every 300 s unless told otherwise.
FORGET_AFTER_S = 900.0
#: Epochs remembered of one id: what one board sends may not grow the server.
MAX_SPEAKERS = 4


@dataclass(frozen=True)
class Speaker:
    """A process that spoke under an id.

    Attributes:
        epoch: its own.
        address: where it spoke from: as seen over HTTP, by its own account over MQTT; may be empty.
        via: `http` or `mqtt`.
        last_at: when it last spoke, seconds since 1970.
        returns: how often it spoke again after another one had.
        sequence: highest number of its reports; -1 before the first.
    """

    epoch: str
    address: str
    via: str
    last_at: float
    returns: int = 0
    sequence: int = -1


@dataclass(frozen=True)
class Caller:
    """Whose message it is, as far as it tells.

    Attributes:
        epoch: of the process that sent it; empty when it doesn't say.
        address: whence it came.
        sequence: its number, if it has one.
    """

    epoch: str = ""
    address: str = ""
    sequence: int | None = None

    def cleaned(self) -> Caller:
        """The same with text that is harmless: a header may hold anything."""
        return replace(self, epoch=clean(self.epoch), address=clean(self.address))


NOBODY = Caller()


def hear(speakers: tuple[Speaker, ...], caller: Caller, *, via: str, at: float) -> tuple[Speaker, ...]:
    """Who speaks, after one more message; the last one stands last. Pure.

    Args:
        speakers: who spoke so far.
        caller: whose message it is; one whose number isn't newer than its epoch's last was only handed out again.
        via: `http` or `mqtt`.
        at: when it came, seconds since 1970.
    """
    kept = [one for one in speakers if at - one.last_at < FORGET_AFTER_S]
    known = next((one for one in kept if one.epoch == caller.epoch), None)
    number = -1 if caller.sequence is None else caller.sequence
    if known is None:
        return (*kept[-(MAX_SPEAKERS - 1) :], Speaker(caller.epoch, caller.address, via, at, 0, number))
    if caller.sequence is not None and number <= known.sequence:
        return tuple(kept)
    made = Speaker(
        caller.epoch, caller.address or known.address, via, at,
        returns=known.returns + (kept[-1].epoch != caller.epoch),
        sequence=max(number, known.sequence),
    )  # fmt: skip
    return (*(one for one in kept if one.epoch != caller.epoch), made)


def takes_turns(speakers: tuple[Speaker, ...]) -> bool:
    """Are these two devices under one id? Pure."""
    back = [one.returns for one in speakers if one.returns]
    return len(back) > 1 and sum(back) >= MIN_RETURNS


class Sightings:
    """Who spoke lately, for each id. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._speakers: dict[str, tuple[Speaker, ...]] = {}

    def hear(self, device: str, caller: Caller, *, via: str) -> None:
        """A message came just now; see the function `hear`."""
        with self._lock:
            before = self._speakers.get(device, ())
            after = hear(before, caller.cleaned(), via=via, at=time.time())
            self._speakers[device] = after
        if takes_turns(after) != takes_turns(before):
            places = " and ".join(sorted(one.address or "an unknown address" for one in after))
            what = "duplicate device" if takes_turns(after) else "no longer a duplicate"
            log.warning("%s: device=%s speaks from %s", what, device, places)

    def duplicates(self, device: str) -> list[Speaker]:
        """The devices that share an id, the one that spoke last first; empty when it is one only."""
        with self._lock:
            found = self._speakers.get(device, ())
        lately = tuple(one for one in found if time.time() - one.last_at < FORGET_AFTER_S)
        return [one for one in reversed(lately) if one.returns] if takes_turns(lately) else []
