"""What became of a device, in words: how an update ended, what its goldens said, and all of it in order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgelift_contract.report import UpdateReport
from edgelift_contract.telemetry import DeviceEvent
from edgelift_fleet.console.device.seen import Happening
from edgelift_fleet.console.words import latency, size
from edgelift_fleet.messages import DeviceDetail, HistoryEntry, SwapView

#: Lines of the history.
MOST = 60
#: Reason of a swap → which state's sign it bears, and what it is called.
_SWAPS = {
    "rollback": ("rolled-back", "went back"),
    "restore": ("spent", "restarted"),
    "empty": ("empty", "emptied"),
}
#: Events that say what a swap or an update says already.
_SAID = ("committed", "rolled-back", "update-refused")


def ended(update: UpdateReport | None) -> tuple[str, str]:
    """How an update ended, in words, and which kind of state that is."""
    if update is None or update.outcome == "none":
        return "It has never been updated.", "none"
    name = f"{update.model}@{update.version}" if update.version else "The release"
    why = f": {update.message.rstrip('.')}" if update.message else ""
    code = f" ({update.code})" if update.code else ""
    served = _served(update)
    told = {
        "committed": (f"{name} was kept after its probation{f' of {served}' if served else ''}.", "committed"),
        "refused": (f"{name} was refused before it served{code}{why}.", "refused"),
        "rolled-back": (
            f"{name} served{f' {served},' if served else ''} and was taken back{code}{why}.",
            "rolled-back",
        ),
        "superseded": (f"{name} was given up for another one that was assigned meanwhile.", "superseded"),
        "inconsistent": (f"{name} could not be taken back{code}{why}.", "failed"),
        "in-progress": (f"{name} is under way ({update.phase}){code}{why}.", "updating"),
    }
    return told.get(update.outcome, (f"{name}: {update.outcome}{code}{why}.", "none"))


def _served(update: UpdateReport) -> str:
    if not update.requests:
        return ""
    failed = f", {update.errors} of them failed" if update.errors else ", none failed"
    return f"{update.requests:,} requests{failed}"


def staged(update: UpdateReport | None) -> str:
    """An update that is under way, as `digits@2 (preflight)`; empty for none."""
    if update is None or update.outcome != "in-progress":
        return ""
    tries = f", try {update.attempts}" if update.attempts > 1 else ""
    return f"{update.model}@{update.version} ({update.phase}{tries})"


def goldens(slot: str, artifact: str, update: UpdateReport | None, swaps: Sequence[SwapView]) -> str:
    """What the goldens of what serves said on this very board; empty where nothing serves."""
    if not artifact:
        return ""
    found = next(
        (one for one in swaps if one.slot == slot and one.artifact_to == artifact and one.preflight_ms), None
    )
    if found is not None:
        return (
            f"All passed on this board before it served, in {latency(found.preflight_ms * 1000)}{_error(found)}."
        )
    if update is not None and update.artifact == artifact and update.outcome == "committed":
        return "All passed on this board: nothing serves before."
    return "Passed when it came; the record of that is no longer kept."


def _error(swap: SwapView) -> str:
    return f"; the largest difference was {swap.golden_max_error:.2g}" if swap.golden_max_error else ""


def history(of: DeviceDetail) -> list[Happening]:
    """All that happened to it, newest first."""
    told = [*_updates(of.history), *(_swap(one) for one in of.swaps), *_events(of.events)]
    told.append(Happening(of.enrolled_at, "done", "enrolled", "It came to this site."))
    return sorted(told, key=lambda one: -one.at)[:MOST]


def _updates(entries: Iterable[HistoryEntry]) -> list[Happening]:
    made = []
    for entry in entries:
        text, kind = ended(entry.update)
        by = f" By the rollout {entry.update.rollout}." if entry.update.rollout else ""
        made.append(Happening(entry.last_at, kind, kind, text + by, entry.slot))
    return made


def _swap(one: SwapView) -> Happening:
    to = f"@{one.version_to}" if one.version_to else "nothing"
    since = f" from @{one.version_from}" if one.version_from and one.version_from != one.version_to else ""
    how = {
        "update": f"It swapped{since} to {to}", "rollback": f"It went back{since} to {to}",
        "restore": f"Its agent restarted; {to} serves on", "empty": "The slot was emptied",
        "placebo": f"It swapped to {to} once more, as a control",
    }.get(one.reason, f"It swapped to {to}")  # fmt: skip
    parts = [f"{latency(one.commit_us)} for the exchange"] if one.commit_us else []
    parts += [f"{one.dropped} requests lost" if one.dropped else "no request lost"]
    parts += [f"{size(one.fetched_bytes)} fetched"] if one.fetched_bytes else []
    if one.before and one.after:
        parts.append(f"p95 {latency(one.before.p95_us)} before, {latency(one.after.p95_us)} after")
    tail = "" if one.reason in ("restore", "empty") else f": {', '.join(parts)}"
    kind, what = _SWAPS.get(one.reason, ("done", "swapped"))
    return Happening(one.at, kind, what, f"{how}{tail}.", one.slot)


def _events(events: Iterable[DeviceEvent]) -> list[Happening]:
    return [
        Happening(one.at, "warning" if one.code else "done", one.kind, _event(one), one.slot)
        for one in events
        if one.kind not in _SAID
    ]


def _event(one: DeviceEvent) -> str:
    text = one.message or one.kind
    return f"{text} ({one.code})" if one.code and one.code != one.kind and one.code not in text else text
