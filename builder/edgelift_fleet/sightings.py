"""Who speaks under one device's id: two processes that take turns are two devices, as after a card was cloned.

Every process of an agent has an epoch of its own. A device that restarts begins a new epoch and never speaks in the
old one again, but for a message that was long on its way. So an epoch that was left behind and comes back, with
something new to say, more than such a straggler would, is another device. `hear` is that rule, without I/O; what was
heard is kept in memory: a server that restarts hears the two again. Where several servers of a site each hear one of
them, they tell each other of every new epoch and every return; see `exchange`.
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
        since: when it began to speak without another one between; as `last_at`.
    """

    epoch: str
    address: str
    via: str
    last_at: float
    returns: int = 0
    sequence: int = -1
    since: float = 0.0


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
        return (*kept[-(MAX_SPEAKERS - 1) :], Speaker(caller.epoch, caller.address, via, at, 0, number, at))
    if caller.sequence is not None and number <= known.sequence:
        return tuple(kept)
    made = Speaker(
        caller.epoch, caller.address or known.address, via, at,
        returns=known.returns + (kept[-1].epoch != caller.epoch),
        sequence=max(number, known.sequence),
        since=known.since if kept[-1].epoch == caller.epoch else at,
    )  # fmt: skip
    return (*(one for one in kept if one.epoch != caller.epoch), made)


def takes_turns(speakers: tuple[Speaker, ...]) -> bool:
    """Are these two devices under one id? Pure."""
    back = [one.returns for one in speakers if one.returns]
    return len(back) > 1 and sum(back) >= MIN_RETURNS


def learn(speakers: tuple[Speaker, ...], other: Speaker) -> tuple[Speaker, ...]:
    """Who speaks, after another server told when it heard one; the last one stands last. Pure.

    Whoever spoke both before and after that came back, and so did the one that is told of, if another spoke between
    its last two words.
    """
    known = next((one for one in speakers if one.epoch == other.epoch), None)
    at, rest, back = other.last_at, [], False
    for one in speakers:
        if one.epoch == other.epoch:
            continue
        back = back or (known is not None and known.last_at < one.since < at)
        split = one.since < at < one.last_at
        rest.append(replace(one, returns=one.returns + 1, since=one.last_at) if split else one)
    if known is None:
        made = replace(other, since=at)
    else:
        made = replace(
            max(known, other, key=lambda one: one.last_at),
            returns=max(known.returns, other.returns) + back, sequence=max(known.sequence, other.sequence),
            since=at if back else known.since,
        )  # fmt: skip
    return tuple(sorted([*rest, made], key=lambda one: one.last_at)[-MAX_SPEAKERS:])


class Sightings:
    """Who spoke lately, for each id. Safe to use from several threads.

    Attributes:
        shared: are there other servers to be told of what is new here?
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._speakers: dict[str, tuple[Speaker, ...]] = {}
        self._news: dict[str, set[str]] = {}
        self._told: dict[
            str, dict[str, float]
        ] = {}  # device → epoch → when it had spoken, as the others were told
        self.shared = False

    def hear(self, device: str, caller: Caller, *, via: str) -> None:
        """A message came just now; see the function `hear`."""
        with self._lock:
            before = self._speakers.get(device, ())
            after = hear(before, caller.cleaned(), via=via, at=time.time())
            self._speakers[device] = after
            if self.shared and after != before and self._is_news(device, after):
                self._news.setdefault(device, set()).add(after[-1].epoch)
        self._tell(device, before, after)

    def take_news(self) -> list[tuple[str, Speaker]]:
        """What the other servers don't know yet, as (device, speaker); it is not given again."""
        with self._lock:
            news, self._news = self._news, {}
            taken = []
            for device, epochs in sorted(news.items()):
                speakers = self._speakers.get(device, ())
                told = self._told.get(device, {})
                taken += [(device, one) for one in speakers if one.epoch in epochs]
                self._told[device] = {
                    one.epoch: one.last_at if one.epoch in epochs else told.get(one.epoch, 0.0) for one in speakers
                }
            return taken

    def _is_news(self, device: str, speakers: tuple[Speaker, ...]) -> bool:
        """Must the others hear of the one that spoke last? Once, and again each time after another one spoke."""
        *rest, last = speakers
        told_at = self._told.get(device, {}).get(last.epoch, -1.0)
        return told_at < max((one.last_at for one in rest), default=0.0)

    def learn(self, device: str, other: Speaker) -> None:
        """Another server heard this one; what is known already changes nothing."""
        with self._lock:
            before = self._speakers.get(device, ())
            after = self._speakers[device] = learn(before, other)
        self._tell(device, before, after)

    def _tell(self, device: str, before: tuple[Speaker, ...], after: tuple[Speaker, ...]) -> None:
        if takes_turns(after) != takes_turns(before):
            places = " and ".join(sorted(one.address or "an unknown address" for one in after))
            what = "duplicate device" if takes_turns(after) else "no longer a duplicate"
            log.warning("%s: device=%s speaks from %s", what, device, places)

    def doubled(self) -> set[str]:
        """All ids under which several devices speak."""
        with self._lock:
            several = [device for device, speakers in self._speakers.items() if len(speakers) > 1]
        return {device for device in several if self.duplicates(device)}

    def duplicates(self, device: str) -> list[Speaker]:
        """The devices that share an id, the one that spoke last first; empty when it is one only."""
        with self._lock:
            found = self._speakers.get(device, ())
        lately = tuple(one for one in found if time.time() - one.last_at < FORGET_AFTER_S)
        return [one for one in reversed(lately) if one.returns] if takes_turns(lately) else []
