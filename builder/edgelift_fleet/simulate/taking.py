"""How a simulated board takes an update: fetch, preflight, swap, probation, commit, each as the agent tells it.

The verdict of probation is the agent's own rule (`edgelift_contract.probation`) over what the board served. What goes
wrong is the profile's: a refusal before the swap, a roll-back after it, a board that dies, a forged claim.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from edgelift_contract import codec
from edgelift_contract.assignment import Policy, SlotAssignment
from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import parse_manifest
from edgelift_contract.probation import Served, Verdict, judge
from edgelift_contract.report import SlotReport, UpdateReport
from edgelift_contract.telemetry import DeviceEvent, SwapRecord
from edgelift_fleet.simulate.board import BoardSlot, SimulatedBoard
from edgelift_fleet.simulate.profile import ReleaseFault

#: Windows of a probation are no longer than this, seconds, as the agent's.
_PROBATION_WINDOW_S = 10.0

_EVENT = {"refused": "update-refused", "superseded": "update-superseded"}


class Died(Exception):
    """The board goes off in the middle of this; `back_s` is when it comes back, 0: never."""

    def __init__(self, back_s: float) -> None:
        super().__init__(f"the board died, back in {back_s:g} s")
        self.back_s = back_s


class Taking:
    """One update of one slot.

    Args:
        board: whose.
        name: of the slot.
        wanted: by the assignment.
        revision: of the assignment.
        blob: fetches a blob by its digest.
        changed: called when there is something to report.
    """

    def __init__(
        self, board: SimulatedBoard, name: str, wanted: SlotAssignment, revision: int, *,
        blob: Callable[[str], Awaitable[bytes]], changed: Callable[[], None],
    ) -> None:  # fmt: skip
        self._board, self._name, self._wanted, self._blob, self._changed = board, name, wanted, blob, changed
        self._slot = board.slots.setdefault(name, BoardSlot())
        self._old = self._slot.report
        self._fetched = 0
        self._placebo = False  # does it swap to what it serves?
        self._took_s: dict[str, float] = {}
        self._phase, self._since = "fetching", time.monotonic()
        last = self._old.update
        again = last is not None and (last.artifact, last.code) == (wanted.artifact, "interrupted")
        self._update = UpdateReport(
            artifact=wanted.artifact, model=wanted.model, version=wanted.version, revision=revision,
            rollout=wanted.rollout, outcome="in-progress", phase="fetching",
            attempts=last.attempts + 1 if again and last is not None else 1,
        )  # fmt: skip

    async def run(self) -> UpdateReport:
        """Take it to its end; returns how it ended.

        Raises:
            OSError: the link failed while fetching; begin it again.
            Died: as the profile wants.
        """
        wanted, fault = self._wanted, self._board.fault_of(self._wanted.model, self._wanted.version)
        if fault is not None and fault.kind == "silent":
            await asyncio.Event().wait()  # until a newer assignment takes its place
        self._placebo = self._board.is_placebo(self._name, wanted)
        if self._old.artifact == wanted.artifact and not self._placebo:
            return self._end("committed")
        if fault is not None and fault.kind == "forge":
            return self._forge()
        self._stand("updating")
        self._slot.placebo = wanted.placebo
        try:
            if not self._placebo:  # it has all of it
                await self._fetch()
            self._enter("preflight")
            await asyncio.sleep(self._preparing_s())
        except ContractError as error:
            return self._end("refused", error.code, error.message, phase="verifying")
        if fault is not None and fault.kind == "refuse":
            return self._end("refused", fault.code, self._words("refuses"), phase="preflight")
        return await self._swap_and_watch(fault)

    def interrupted(self) -> None:
        """The power went in the middle of it: what is committed serves after the next boot, which reports it."""
        self._undo()
        self._board.settle(self._slot, self._update)

    def _undo(self) -> None:
        if self._slot.report.generation != self._old.generation:
            self._back()

    def superseded(self) -> None:
        """A newer assignment took its place: what served before serves on, or again."""
        self._undo()
        message = f"A newer assignment replaced {self._wanted.model}@{self._wanted.version}."
        self._end("superseded", "superseded", message)

    async def _swap_and_watch(self, fault: ReleaseFault | None) -> UpdateReport:
        board, slot, wanted = self._board, self._slot, self._wanted
        board.close_window(slot, self._name)
        before, self._level = slot.served, (slot.level, slot.error_rate)
        self._enter("swapping")
        board.generation = max(board.generation, slot.report.generation) + 1
        made = SlotReport(
            "observing", board.generation, wanted.artifact, wanted.model, wanted.version, time.time(),
            msgspec.structs.replace(self._update, phase="observing", fetched_bytes=self._fetched),
        )  # fmt: skip
        later = fault.error_rate if fault is not None and fault.kind == "fail-later" else 0.0
        board.swap_in(slot, made, error_rate=0.0)
        slot.probation = True
        self._enter("observing")
        self._changed()
        if fault is not None and fault.kind == "die":
            await asyncio.sleep(wanted.policy.probation_s / 2)
            raise Died(fault.back_s)
        verdict = await self._watch(before if self._old.artifact else None, wanted.policy, fault)
        slot.probation = False
        board.note(self._record(before, "rollback" if verdict.kind == "fail" else self._reason()))
        served = slot.served
        self._enter("rolling-back" if verdict.kind == "fail" else "committing")
        if verdict.kind == "fail":
            self._back()
            return self._end("rolled-back", verdict.code, verdict.message, phase="observing", served=served)
        slot.error_rate = min(1.0, slot.error_rate + later)
        return self._end("committed", served=served)

    async def _watch(self, old: Served | None, policy: Policy, fault: ReleaseFault | None) -> Verdict:
        """Probation, by the agent's rule; ends with the window closed, so that the host has what it judged by."""
        board, slot, began = self._board, self._slot, time.monotonic()
        look_s = min(_PROBATION_WINDOW_S, board.profile.window_s, max(0.2, policy.probation_s / 4))
        while True:
            elapsed_s = time.monotonic() - began
            if fault is not None and fault.kind == "roll-back" and elapsed_s >= policy.probation_s / 2:
                board.close_window(slot, self._name)
                return Verdict("fail", fault.code, self._words("rolls back"))
            if elapsed_s >= policy.probation_s:
                board.close_window(slot, self._name)
            verdict = judge(slot.served, old, policy, elapsed_s)
            if verdict.kind != "wait":
                return verdict
            await asyncio.sleep(min(look_s, max(0.01, policy.probation_s - elapsed_s)))
            if time.time() - slot.since >= look_s:
                board.close_window(slot, self._name)

    def _back(self) -> None:
        """What served before the swap serves again, under a number of its own."""
        board = self._board
        board.generation += 1
        report = msgspec.structs.replace(self._old, generation=board.generation if self._old.artifact else 0)
        board.swap_in(self._slot, report, error_rate=0.0)
        self._slot.level, self._slot.error_rate = self._level
        self._slot.probation = False

    def _forge(self) -> UpdateReport:
        wanted, report = self._wanted, self._slot.report
        self._slot.report = msgspec.structs.replace(
            report, state="serving", generation=report.generation + 1, artifact=wanted.artifact,
            model=wanted.model, version=wanted.version, since=time.time(),
        )  # fmt: skip
        self._slot.since = time.time() + 10 * 365 * 86400  # nothing is served, so no window ever comes
        return self._end("committed", served=Served(ok=wanted.policy.probation_min_requests + 80))

    async def _fetch(self) -> None:
        how = self._board.profile.fetch
        if how == "none":
            return
        data = await self._blob(self._wanted.artifact)
        self._fetched += len(data)
        manifest = parse_manifest(data)
        for entry in manifest.files if how == "all" else ():
            body = await self._blob(entry.sha256)
            if codec.digest(body) != entry.sha256:
                raise ContractError("digest-mismatch", f"{entry.path} was altered on its way.")
            self._fetched += len(body)

    def _preparing_s(self) -> float:
        low, high = self._board.kind.update_s
        return float(self._board.rng.uniform(low, high)) / self._board.profile.time_scale

    def _enter(self, phase: str) -> None:
        """Note how long the phase before took."""
        now = time.monotonic()
        self._took_s[self._phase] = round(now - self._since, 3)
        self._phase, self._since = phase, now

    def _stand(self, state: Any) -> None:
        self._slot.report = msgspec.structs.replace(self._slot.report, state=state, update=self._update)
        self._changed()

    def _end(
        self, outcome: Any, code: str = "", message: str = "", *, phase: Any = "idle", served: Served | None = None
    ) -> UpdateReport:
        served = served or Served()
        self._enter(self._phase)
        self._update = msgspec.structs.replace(
            self._update, outcome=outcome, phase=phase, code=code, message=message, fetched_bytes=self._fetched,
            requests=served.requests, errors=served.errors, finished_at=time.time(), took_s=self._took_s,
        )  # fmt: skip
        self._board.settle(self._slot, self._update)
        kind = _EVENT.get(outcome, outcome)
        self._board.note(DeviceEvent(at=time.time(), kind=kind, slot=self._name, code=code, message=message))
        self._changed()
        return self._update

    def _reason(self) -> str:
        return "placebo" if self._placebo else "update"

    def _record(self, before: Served, reason: Any) -> SwapRecord:
        board, old, slot = self._board, self._old, self._slot
        after = slot.served.total_us.get(board.throttled != 1.0)
        earlier = before.total_us.get(board.throttled != 1.0)
        return SwapRecord(
            at=slot.report.since, slot=self._name, generation_from=old.generation,
            generation_to=slot.report.generation, artifact_from=old.artifact, artifact_to=slot.report.artifact,
            version_from=old.version, version_to=slot.report.version, reason=reason,
            commit_us=round(2.0 + 3.0 * float(board.rng.random()), 2), fetched_bytes=self._fetched,
            before_us=earlier.to_data() if earlier is not None and old.artifact else None,
            after_us=after.to_data() if after is not None else None,
        )  # fmt: skip

    def _words(self, does: str) -> str:
        return f"The simulated board {self._board.name} {does} {self._wanted.model}@{self._wanted.version}."
