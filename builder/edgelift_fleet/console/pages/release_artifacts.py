"""A release's artifacts, a table and a picture for each kind of board; boards with the very same ones once. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from edgelift_contract.histogram import Histogram
from edgelift_contract.manifest import Evidence, Manifest
from edgelift_contract.release import Release, ReleaseArtifact
from edgelift_fleet.console.pages.pareto import ParetoDot, ParetoPicture, draw, is_better, kinds
from edgelift_fleet.console.words import accuracy, latency, size

#: What is measured as a difference to float: never what a picture shows.
_DROPS = ("accuracy-drop", "loss-percent")


class ArtifactLine(msgspec.Struct, frozen=True):
    """An artifact in one line.

    Attributes:
        letter: in the picture.
        kind: as `pareto.kinds`; `first` or empty where there is no picture.
        ids: of it on each of the boards.
        p50_us, p95_us: warm single inferences at batch 1; 0 where nobody timed it.
        timed_on, timed_by: hardware class of the machine that did, and runtime; `own`: it is of the board's class.
        times_float: how many times as fast as float, in the same run; 0 for unknown.
        metric, value, low, high, samples, float_value, unit: how good it is, and float on the same samples; see `Evidence`.
        judged_on: hardware class of the machine that said so.
        verdict: against the accuracy budget; empty where nothing was judged.
    """

    letter: str
    kind: str
    ids: list[str]
    variant: str
    runtime: str
    format: str
    size_bytes: int
    p50_us: float = 0.0
    p95_us: float = 0.0
    peak_memory_bytes: int = 0
    timed_on: str = ""
    timed_by: str = ""
    own: bool = False
    times_float: float = 0.0
    metric: str = ""
    value: float | None = None
    low: float = 0.0
    high: float = 0.0
    samples: int = 0
    float_value: float = 0.0
    unit: str = ""
    judged_on: str = ""
    verdict: str = ""


class BoardArtifacts(msgspec.Struct, frozen=True):
    """The artifacts of some kinds of boards, best first.

    Attributes:
        boards: as `arm64-neon (rpi3, rpi4)`.
        lines: the artifacts.
        axis: what the picture has to the right: `p50 latency` or `size`; empty for no picture.
        picture: of those whose accuracy is known.
        speed: in words: where it was measured, or that it wasn't.
        verdict: in one sentence: what ships first, and why.
    """

    boards: list[str]
    lines: list[ArtifactLine]
    axis: str
    picture: ParetoPicture | None
    speed: str
    verdict: str


def boards_of(release: Release, manifests: Mapping[str, Manifest]) -> list[BoardArtifacts]:
    """The artifacts of a release, by kind of board."""
    groups: dict[tuple[str, tuple[str, ...]], list[ReleaseArtifact]] = {}
    for one in release.artifacts:
        groups.setdefault((one.hardware_class, tuple(one.targets)), []).append(one)
    same: dict[str, tuple[dict[str, list[str]], list[list[ArtifactLine]]]] = {}
    for (hardware_class, targets), found in groups.items():
        ranked = sorted(found, key=lambda one: (one.rank, one.id))
        lines = [_line(number, one, manifests.get(one.id)) for number, one in enumerate(ranked)]
        key = repr([msgspec.structs.replace(line, ids=[]) for line in lines])
        boards, all_lines = same.setdefault(key, ({}, []))
        boards.setdefault(hardware_class, []).extend(name for name in targets if name != hardware_class)
        all_lines.append(lines)
    return [_together(_boards(boards), lines) for boards, lines in same.values()]


def _boards(found: Mapping[str, Sequence[str]]) -> list[str]:
    return [f"{name} ({', '.join(targets)})" if targets else name for name, targets in found.items()]


def _together(boards: Sequence[str], found: Sequence[Sequence[ArtifactLine]]) -> BoardArtifacts:
    lines = [
        msgspec.structs.replace(each[0], ids=list(dict.fromkeys(id_ for line in each for id_ in line.ids)))
        for each in zip(*found, strict=True)
    ]
    timed = all(line.own and line.p50_us for line in lines)
    shown = [line for line in lines if line.value is not None]
    dots = [
        ParetoDot(
            line.letter, line.p50_us if timed else float(line.size_bytes), line.value or 0.0, line.high - line.low,
            line is lines[0],
        )
        for line in shown
    ]  # fmt: skip
    kind_of = {dot.letter: kind for dot, kind in zip(dots, kinds(dots), strict=True)}
    lines = [msgspec.structs.replace(line, kind=kind_of.get(line.letter, line.kind)) for line in lines]
    unit = shown[0].unit if shown else ""
    picture = draw(dots, latency if timed else size, lambda y: accuracy(y, unit)) if dots else None
    axis = ("p50 latency" if timed else "size") if dots else ""
    beats = next((one.letter for one in dots if is_better(one, dots[0])), "") if dots and dots[0].first else ""
    return BoardArtifacts(
        list(boards), lines, axis, picture, speed_words(lines), verdict_words(lines, axis, beats)
    )


def _line(number: int, entry: ReleaseArtifact, manifest: Manifest | None) -> ArtifactLine:
    told, cost = _evidence(manifest), entry.measurement
    timed = Histogram.from_data(cost.latency_us) if cost else Histogram()
    line = ArtifactLine(
        letter_of(number), "first" if not number else "", [entry.id], entry.variant, entry.runtime, entry.format,
        entry.size_bytes, p50_us=timed.quantile(0.5), p95_us=timed.quantile(0.95),
        peak_memory_bytes=cost.peak_memory_bytes if cost else 0,
        timed_on=cost.measured_on if cost else "", timed_by=cost.runtime if cost else "",
        own=cost is not None and cost.measured_on == entry.hardware_class, times_float=cost.float_ratio if cost else 0.0,
    )  # fmt: skip
    if told is None:
        return line
    return msgspec.structs.replace(
        line, metric=told.metric, value=told.value, low=told.low, high=told.high, samples=told.n,
        float_value=told.baseline, unit=told.unit, judged_on=told.measured_on, verdict=told.verdict,
    )  # fmt: skip


def _evidence(manifest: Manifest | None) -> Evidence | None:
    told = manifest.evidence if manifest else []
    return next((one for one in told if one.metric not in _DROPS), None)


def letter_of(number: int) -> str:
    """A, B, … Z, AA, AB …"""
    return (letter_of(number // 26 - 1) if number >= 26 else "") + chr(ord("A") + number % 26)


def speed_words(lines: Sequence[ArtifactLine]) -> str:
    """Where it was found out how fast these are."""
    first = lines[0]
    if first.own:
        return f"Speed measured on {first.timed_on}, the boards’ own class, with {first.timed_by}."
    if first.timed_on:
        return f"Speed unmeasured on this class: the times are of {first.timed_on}."
    return "Speed unmeasured on this class."


def verdict_words(lines: Sequence[ArtifactLine], axis: str, beats: str = "") -> str:
    """What ships first and how it compares with float.

    Args:
        lines: of a board, best first.
        axis: of the picture.
        beats: letter of one that is no worse than the first; empty for none.
    """
    first = lines[0]
    parts = []
    plain = next((line for line in lines if line.variant == "float32" and line is not first), None)
    if plain is not None and first.size_bytes:
        parts.append(_times(plain.size_bytes / first.size_bytes))
    if first.value is not None and not first.unit:
        lost = (first.float_value - first.value) * 100
        parts.append(f"{lost:.1f} points lost" if lost >= 0.05 else "no accuracy lost")
    order = "by measured speed" if first.own else "by the target’s own order"
    text = f"{first.variant} through {first.runtime} ships first {order}" + (
        f": {', '.join(parts)}" if parts else ""
    )
    other = next((line for line in lines if line.letter == beats), None)
    if other is None:
        return f"{text}."
    why = "" if first.own else "; the order is the target’s own, since nobody timed them on this class"
    return f"{text}. {beats} ({other.variant} through {other.runtime}) is no worse in {axis} and accuracy{why}."


def _times(factor: float) -> str:
    if 0.95 < factor < 1.05:
        return "as large as float32"
    return f"{factor:.1f} × smaller than float32" if factor > 1 else f"{1 / factor:.1f} × larger than float32"
