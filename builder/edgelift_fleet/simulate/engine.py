"""Thousands of simulated boards in one process: one event loop, one timer for all windows, a few threads of help.

Boards are numbered; which class board n is of, what is drawn for it and what befalls it follow from the profile and
the seed alone. `run` lives them until it is told to stop; others look at `figures()` meanwhile.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter
from collections.abc import Callable

import msgspec
import numpy as np

from edgelift_contract.message_types import prepare_message_types
from edgelift_fleet.simulate.board import SimulatedBoard
from edgelift_fleet.simulate.counts import Counts, Figures
from edgelift_fleet.simulate.ending import ended
from edgelift_fleet.simulate.http import Address
from edgelift_fleet.simulate.life import Life
from edgelift_fleet.simulate.profile import BoardClass, Profile, Spell
from edgelift_fleet.tls_buffers import keep_tls_buffers_small

#: Boards that may be enrolling at once: a fleet that is switched on is no attack.
_STARTING = 64


class Simulation:
    """A fleet of a profile against one control plane.

    Attributes:
        lives: name → the board's life; all of them from the first moment on, none before it.
        told_at: name → when a board last heard of a newer assignment, by `time.monotonic()`.
        silent: boards tell no telemetry while it is true: to see what a fleet costs that has nothing to say.
    """

    def __init__(
        self, address: Address, profile: Profile, devices: int, *, seed: int = 0, prefix: str = "sim"
    ) -> None:
        """Bind; nothing is sent yet.

        Args:
            address: of the control plane, with the enrolment token.
            profile: what boards there are.
            devices: how many.
            seed: of everything that is drawn.
            prefix: of the boards' ids, as in `sim-00001`.
        """
        prepare_message_types()
        keep_tls_buffers_small()
        raise_descriptors(3 * devices + 200)
        self.profile, self._seed = profile, seed
        self.counts = Counts()
        self.told_at: dict[str, float] = {}
        self.silent = False
        self.lives: dict[str, Life] = {}
        kinds = kinds_of(profile, devices)
        width = max(5, len(str(devices)))
        self.boards = [
            SimulatedBoard(f"{prefix}-{n + 1:0{width}d}", kind, profile, seed=seed, index=n)
            for n, kind in enumerate(kinds)
        ]
        self._address = address
        self._tasks: set[asyncio.Task[None]] = set()
        self._parting: Figures | None = None

    async def run(self, until: asyncio.Event) -> None:
        """Switch all boards on, let them live until the event is set, and switch them off with a good-bye."""
        self.lives = {
            board.name: Life(board, self._address, self.counts, told=self._told) for board in self.boards
        }
        self._befall()
        self._start(self._windows())
        self._start(self._publishing())
        await self._switch_on_all(until)
        await until.wait()
        await ended(self._tasks)
        self._parting = self.figures()
        await asyncio.gather(*(life.switch_off(kindly=True) for life in self.lives.values()))

    async def _switch_on_all(self, until: asyncio.Event) -> None:
        lives = list(self.lives.values())
        for first in range(0, len(lives), _STARTING):
            if until.is_set():
                return
            part = lives[first : first + _STARTING]
            for life in part:
                life.switch_on()
            began = time.monotonic()
            while time.monotonic() - began < 5 and not all(life.linked for life in part):
                await asyncio.sleep(0.02)

    def connected(self) -> int:
        """How many boards are linked to the host now; costs less than `figures`."""
        return sum(life.linked for life in self.lives.values())

    def figures(self) -> Figures:
        """What it did so far; from any thread, as `connected`: what the event loop changes meanwhile is copied first."""
        counts, lives = self.counts, self.lives.values()
        running = Counter(
            f"{slot.report.model}@{slot.report.version}"
            for board in self.boards
            for slot in list(board.slots.values())
            if slot.report.artifact
        )
        return Figures(
            boards=len(self.boards), connected=self.connected(),
            offline=sum(life.cut_off or not life.on for life in lives),
            kept_out=dict(Counter(life.kept_out for life in lives if life.kept_out)),
            enrolled=counts.enrolled, polls=counts.polls, assignments=counts.assignments, reports=counts.reports,
            batches=counts.batches, windows=counts.windows, reconnects=counts.reconnects, running=dict(running),
            updates=dict(counts.updates), by_code=dict(counts.by_code), refused=dict(counts.refused),
            link_errors=counts.link_errors, last_error=counts.last_error, waiting=sum(len(b.waiting) for b in self.boards),
            dropped=sum(b.dropped for b in self.boards),
            seconds=round(time.monotonic() - counts.began, 1),
            cpu_s=round(time.process_time() - counts.cpu_began, 2),
        )  # fmt: skip

    def outcome(self) -> Figures:
        """What it did in all, good-bye included, and who was connected when that began; after `run`."""
        end, parting = self.figures(), self._parting or self.figures()
        return msgspec.structs.replace(end, connected=parting.connected, offline=parting.offline)

    def _told(self, life: Life) -> None:
        self.told_at[life.board.name] = time.monotonic()

    def _start(self, work: object) -> None:
        self._tasks.add(asyncio.ensure_future(work))  # type: ignore[call-overload]  # a coroutine

    # --- time passes

    async def _windows(self) -> None:
        """Each board closes its window once in `window_s`, each at a moment of its own."""
        await self._spread(self.profile.window_s, lambda life: life.board.close_windows())

    async def _publishing(self) -> None:
        await self._spread(self.profile.publish_s, lambda life: life.publish_windows())

    async def _spread(self, period_s: float, act: Callable[[Life], object]) -> None:
        lives = list(self.lives.values())
        done, began = 0, time.monotonic()
        while True:
            due = int((time.monotonic() - began) / period_s * len(lives))
            if due - done > len(lives):
                done = due - len(lives)  # this machine can't keep up: what was missed is one longer window
            for number in range(done, due):
                life = lives[number % len(lives)]
                if life.on and not self.silent:
                    act(life)
            done = due
            await asyncio.sleep(min(0.05, period_s / 10))

    # --- what befalls them

    def _befall(self) -> None:
        spells = [
            *((spell, self._cut) for spell in self.profile.offline),
            *((spell, self._restart) for spell in self.profile.restarts),
            *((spell, self._throttle) for spell in self.profile.throttled),
        ]
        for number, (spell, happen) in enumerate(spells):
            rng = np.random.default_rng([self._seed, 0xBEFA11, number])
            for board in self.boards:
                drawn = rng.random(2)
                if (not spell.classes or board.kind.name in spell.classes) and drawn[0] < spell.share:
                    self._start(self._spells(self.lives[board.name], spell, happen, float(drawn[1])))

    async def _spells(self, life: Life, spell: Spell, happen: Callable[..., object], where: float) -> None:
        scale, rng = self.profile.time_scale, life.board.rng
        await asyncio.sleep(spell.after_s * (0.5 + where) / scale)
        while True:
            await happen(life, spell, spell.for_s / scale)  # type: ignore[misc]  # each is a coroutine function
            if not spell.every_s:
                return
            await asyncio.sleep(float(rng.exponential(spell.every_s / scale)))

    async def _cut(self, life: Life, _spell: Spell, for_s: float) -> None:
        life.cut()
        await asyncio.sleep(for_s)
        life.mend()

    async def _restart(self, life: Life, _spell: Spell, for_s: float) -> None:
        if not life.on:
            return  # it died, and comes back by itself or not at all
        await life.switch_off(kindly=False)
        await asyncio.sleep(for_s)
        life.switch_on()

    async def _throttle(self, life: Life, spell: Spell, for_s: float) -> None:
        life.board.close_windows()  # a window is of one throttle state
        life.board.throttled = spell.factor
        await asyncio.sleep(for_s)
        life.board.close_windows()
        life.board.throttled = 1.0


def kinds_of(profile: Profile, devices: int) -> list[BoardClass]:
    """The class of each board: shares kept as exactly as whole boards can, classes in turns (a Webster method)."""
    total = sum(kind.share for kind in profile.classes)
    given = [0] * len(profile.classes)
    found = []
    for n in range(1, devices + 1):
        behind = [kind.share / total * n - have for kind, have in zip(profile.classes, given, strict=True)]
        most = behind.index(max(behind))
        given[most] += 1
        found.append(profile.classes[most])
    return found


def raise_descriptors(wanted: int) -> None:
    """Have the system allow this process so many open files, or as many as it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
