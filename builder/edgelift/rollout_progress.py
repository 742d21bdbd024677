"""What a person reads while a rollout goes on: each thing that happens, what is waited for, and never long silence.

No I/O and no clock: a rollout as the server shows it and a time go in, lines come out. Who prints them, and how
often the server is asked, is `rollout_commands`' business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgelift.output import shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgelift_fleet.messages import LatencyGroup, LookContrast, RolloutSummary, RolloutView

#: A line is due after this long without one, seconds: a log that stands still looks like a program that does.
QUIET_S = 30.0
#: Of so many classes what is served so far is told, the busiest.
_CLASSES = 3
#: Of a look so many comparisons are shown, the worst; all of them stand in `--json`.
_CONTRASTS = 4
_OPEN = ("scheduled", "running", "rolling-back", "paused")


class RolloutProgress:
    """Remembers what was shown of one rollout.

    Attributes:
        last: `seq` of the newest event that was shown; -1 before the first.
    """

    def __init__(self) -> None:
        self.last = -1
        self._waits_for = ""
        self._last_at: float | None = None
        self._changed_at = 0.0

    def lines(self, found: RolloutView, now: float, so_far: str = "") -> list[str]:
        """What is new, as lines.

        Args:
            found: the rollout now.
            now: seconds on any clock that only goes forward.
            so_far: what the release has served, as `served_so_far` says it; said beside what is waited for.
        """
        new = [] if self._last_at is not None else [opening(found)]
        events = [event for event in found.events if event.seq > self.last]
        new += [event_line(found, event.at, event.kind, event.text) for event in events]
        self.last = max([self.last, *(event.seq for event in events)])
        waits_for = f"{counts(found)}. {found.reason}"
        quiet = self._last_at is not None and now - self._last_at >= QUIET_S
        shown = any(event.text == found.reason for event in events)
        if found.state in _OPEN and (quiet or waits_for != self._waits_for):
            if waits_for != self._waits_for:
                self._waits_for, self._changed_at = waits_for, now
                quiet = False
            if quiet or not shown:
                at = max(found.changed_at, found.created_at) + (now - self._changed_at)
                new.append(event_line(found, at, "waits", waits_for + countdown(found) + so_far, still=quiet))
        if new:
            self._last_at = now
        return new


def opening(found: RolloutView) -> str:
    """The first line: what a wave has to come through, so that the wait is no surprise."""
    waves = f"{len(found.waves)} waves ({','.join(found.waves)})"
    devices = "1 device" if found.cohort == 1 else f"{found.cohort} devices"
    soak = f", then {found.soak_s:g} s of soak" if found.soak_s else ""
    return (
        f"{found.id}: {found.release} to {devices} ({shortened(found.selector)}) in {waves}. Each wave takes the "
        f"download, then {found.policy.probation_s:g} s of probation on every device{soak}; a device that does not "
        f"answer holds its wave for {found.deadline_s:g} s."
    )


def headline(found: RolloutSummary) -> str:
    """How a rollout stands, in a sentence or two."""
    wave = f"wave {found.wave} of {len(found.waves)}, " if found.wave else ""
    keep = ""
    if found.state == "wave-rolled-back":
        keep = f" Earlier waves keep it; to take it back: edgelift rollout rollback {found.id}."
    return (
        f"{found.id}: {found.release} to {shortened(found.selector)} is {state_words(found)}: {wave}{counts(found, 'of')}. "
        f"{found.reason}{keep}"
    )


def state_words(found: RolloutSummary) -> str:
    """The state; of a rollback that waits for devices which are off, with how many."""
    off = f" ({found.offline} offline)" if found.state == "rolling-back" and found.offline else ""
    return f"{found.state}{off}"


def counts(found: RolloutSummary, of: str = "/") -> str:
    """How many committed, failed, and are offline if any."""
    between = f" {of} " if of != "/" else of
    offline = f", {found.offline} offline" if found.offline else ""
    return f"{found.committed}{between}{found.cohort} committed, {found.failed} failed{offline}"


def countdown(found: RolloutView) -> str:
    """How long until something changes by itself; empty if nothing does."""
    left_s = found.due_at - found.now
    if not found.due_at or not found.now or left_s <= 0:
        return ""
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if left_s >= 2 * length_s:
            return f" ({left_s / length_s:.0f} {unit} left)"
    return f" ({left_s:.0f} s left)"


def served_so_far(groups: Sequence[LatencyGroup]) -> str:
    """What a release has served lately: requests, failures, and the latency of each class; empty while it is nothing."""
    answered, failed = sum(group.ok for group in groups), sum(group.errors for group in groups)
    if not answered + failed:
        return ""
    busiest = sorted(groups, key=lambda group: -group.ok)[:_CLASSES]
    latency = "".join(
        f"; {group.hardware_class}{' throttled' if group.throttled else ''} p50 {total.p50_us / 1000:.3g} ms, "
        f"p95 {total.p95_us / 1000:.3g} ms"
        for group in busiest
        if (total := group.phases.get("total")) is not None
    )
    return f" So far {answered + failed} requests, {failed} failed{latency}."


def event_line(found: RolloutView, at: float, kind: str, text: str, still: bool = False) -> str:
    """One line of a rollout's story, with the time since its start; `still` says that nothing changed."""
    return f"  +{max(0.0, at - found.created_at):6.1f} s  {kind:<12} {'still: ' if still else ''}{text}"


def look_lines(found: RolloutView) -> list[str]:
    """The newest look at each wave, in figures: who was compared, the odds and their threshold, the worst comparisons."""
    newest = {look.wave: look for look in found.looks}
    lines = []
    for wave, look in sorted(newest.items()):
        of = look.figures
        verdict = "worse than allowed" if look.breach else "unmeasured" if look.unmeasured else "not worse"
        odds = f"p {of.p:.2g} against {of.threshold:.2g}" if of.threshold else "no odds"
        lines.append(
            f"  gate of wave {wave}, look {look.look} of {of.of or '?'}: {verdict}; {of.served}/{of.boards} boards and "
            f"{of.controls_served}/{of.controls} controls served enough; {odds}"
        )
        lines += [_contrast(one) for one in of.contrasts[:_CONTRASTS]]
    return lines


def _contrast(one: LookContrast) -> str:
    where = one.hardware_class or "all classes"
    shift = f"{one.shift:+8.2%} (allowed {one.allowed:+.2%})"
    return f"    {one.series:<12} {where:<14} {shift}, {one.members} against {one.controls}, p {one.p:.2g}"
