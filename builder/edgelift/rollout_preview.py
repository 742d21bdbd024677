"""What a person reads before a rollout begins: who gets what in which wave, what is wrong, how long it takes at least.

No I/O and no clock: a preview as the server made it goes in, lines come out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from edgelift.output import shortened

if TYPE_CHECKING:
    from edgelift_contract.assignment import Policy
    from edgelift_fleet.messages import PlanOptions, PreviewWave, RolloutPreview

#: Devices that a line names; all of them stand in `--json`.
_SHOWN = 5


def preview_lines(found: RolloutPreview) -> list[str]:
    """A preview as lines."""
    online = found.cohort - len(found.offline)
    lines = [
        f"{found.release} to {devices(found.cohort)} ({shortened(found.to)}), {online} online; slot {found.slot!r}."
    ]
    lines += [f"  {text}" for text in _exceptions(found)]
    for artifact in found.artifacts:
        lines.append(
            f"  {devices(artifact.devices)}: {artifact.hardware_class} {artifact.runtime} {artifact.variant}, "
            f"{size(artifact.size_bytes)} ({artifact.artifact[:12]}…)"
        )
    lines += [_wave(found, wave) for wave in found.waves]
    lines.append(
        f"  {size(found.fetch_bytes)} to fetch in all; at least {duration(found.least_s)} until it is done. Later waves "
        f"are drawn when they begin (seed {found.seed})."
    )
    return lines + [f"  Note: {text}" for text in found.cautions]


def plan_line(plan: PlanOptions | Policy) -> str:
    """What of a plan, or of how each device updates, is not as it is by default; empty when all of it is."""
    usual = type(plan)()
    unusual = {
        name: getattr(plan, name) for name in plan.__struct_fields__ if getattr(plan, name) != getattr(usual, name)
    }
    return ", ".join(f"{name} {_word(value)}" for name, value in unusual.items())


def _word(value: object) -> str:
    if isinstance(value, list):
        return "; ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _exceptions(found: RolloutPreview) -> Iterator[str]:
    if found.offline:
        yield f"{len(found.offline)} offline: {named(found.offline)}"
    if found.unknown:
        yield f"{len(found.unknown)} that nobody has: {named(found.unknown)}"
    if found.running:
        yield f"{len(found.running)} run it already: {named(found.running)}"
    reasons: dict[str, list[str]] = {}
    for one in found.unsuited:
        reasons.setdefault(f"{one.message} ({one.code})", []).append(one.device)
    for reason, ids in reasons.items():
        yield f"{len(ids)} without an artifact: {named(ids)}: {reason}"
    if found.elsewhere:
        yield f"{len(found.elsewhere)} in another rollout of the slot: {_elsewhere(found.elsewhere)}"
    if found.older:
        yield f"{len(found.older)} ran a newer release: {named(found.older)}"


def _elsewhere(found: Mapping[str, str]) -> str:
    return named([f"{device} ({rollout})" for device, rollout in sorted(found.items())])


def _wave(found: RolloutPreview, wave: PreviewWave) -> str:
    if not wave.devices:
        return f"  wave {wave.wave} of {len(found.waves)} ({wave.reach}): nobody more"
    classes = ", ".join(f"{number} {name}" for name, number in sorted(wave.classes.items()))
    first = f": {named(wave.first, wave.devices)}" if wave.wave == 1 else ""
    return (
        f"  wave {wave.wave} of {len(found.waves)} ({wave.reach}): {devices(wave.devices)} ({classes}), "
        f"{size(wave.fetch_bytes)}, done after {duration(wave.ends_s)} at the earliest{first}"
    )


def devices(number: int) -> str:
    """`1 device`, `5 devices`."""
    return "1 device" if number == 1 else f"{number} devices"


def named(ids: Sequence[str], total: int = 0) -> str:
    """The first few of `ids`, and how many more of `total` (those that are there when left out)."""
    more = (total or len(ids)) - min(len(ids), _SHOWN)
    shown = ", ".join(ids[:_SHOWN])
    return f"{shown} and {more} more" if more else shown


def size(size_bytes: float) -> str:
    """Bytes in decimal units: `28.1 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


def duration(time_s: float) -> str:
    """A time for people: `45 s`, `5 min`, `2 h 30 min`, `3 d 4 h`."""
    whole = round(time_s)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min"
    if whole < 2 * 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
