"""What a build comes to, in words: which boards get the same, what ships first for them and why, what to do next.

Rules only, no I/O: figures of the report in, sentences out. The page and the terminal say the same ones.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from edgelift_builder.pareto import Objectives, dominates
from edgelift_builder.recipe import FLOATS
from edgelift_builder.report.report import BuildReport, CandidateReport

Sign = Literal["first", "ships", "float", "although", "rejected"]

#: How each sign is read: the same in pictures, tables and keys.
SIGNS: dict[Sign, str] = {
    "first": "ships first",
    "ships": "ships",
    "float": "ships, float",
    "although": "ships although a gate refused it",
    "rejected": "rejected",
}

_RUNTIMES = {"litert": "LiteRT", "onnxruntime": "ONNX Runtime", "torchscript": "TorchScript"}

#: What `--accept` ships: what was examined, and refused for what it answers or gains.
_ACCEPTED = {"accuracy-over-budget", "not-enough-data", "no-data", "no-gain", "conversion-failed"}


@dataclass(frozen=True)
class Group:
    """Targets that get the same artifacts with the same figures, and their candidates, once.

    Attributes:
        targets: their names, in the order of the build; classes: theirs, each once.
        candidates: of one of them; what ships first, best first, then the rejected.
    """

    targets: tuple[str, ...]
    classes: tuple[str, ...]
    candidates: tuple[CandidateReport, ...]

    @property
    def name(self) -> str:
        """Of all its targets."""
        return ", ".join(self.targets)

    @property
    def first(self) -> CandidateReport | None:
        """What its devices take before all others; None where nothing ships."""
        return next((c for c in self.candidates if c.rank == 0), None)


def groups(report: BuildReport) -> list[Group]:
    """The targets of a build, those whose candidates are the same in all but the target's name as one."""
    found: list[tuple[list[CandidateReport], list[str], list[CandidateReport]]] = []
    for target in report.targets:
        mine = sorted(
            (c for c in report.candidates if c.target == target), key=lambda c: (c.rank is None, c.rank or 0)
        )
        bare = [msgspec.structs.replace(c, target="") for c in mine]
        same = next((names for one, names, _ in found if one == bare), None)
        if same is None:
            found.append((bare, [target], mine))
        else:
            same.append(target)
    return [
        Group(tuple(names), tuple(dict.fromkeys(c.hardware_class for c in mine)), tuple(mine))
        for _, names, mine in found
    ]


def sign(c: CandidateReport) -> Sign:
    """How a candidate is marked wherever it stands."""
    if not c.shipped:
        return "rejected"
    if c.code:
        return "although"
    if c.rank == 0:
        return "first"
    return "float" if c.variant in FLOATS else "ships"


def outcome(c: CandidateReport) -> str:
    """What became of a candidate, in a word or two."""
    if not c.shipped:
        return f"rejected: {c.code}"
    order = "ships first" if c.rank == 0 else "ships"
    return f"{order} although {c.code}" if c.code else order


def through(c: CandidateReport) -> str:
    """A candidate by its variant and what runs it: `int8-static through LiteRT`."""
    return f"{c.variant} through {runtime(c.runtime)}"


def runtime(name: str) -> str:
    """A runtime as its makers write it."""
    return _RUNTIMES.get(name, name)


def sentence(group: Group) -> str:
    """What devices of these targets are given first and what that brings; or that nothing is, and why. No full stop."""
    return f"{group.name}: {told(group)}"


def told(group: Group) -> str:
    """The sentence without the targets' names."""
    first = group.first
    if first is None:
        return f"nothing ships: {_refused(group.candidates)}"
    by = "by the target's order" if first.unmeasured else "as the fastest measured"
    alone = sum(c.shipped for c in group.candidates) == 1
    speed = "; speed unmeasured on this class" if first.unmeasured else ""
    although = f"; it ships although a gate refused it ({first.code})" if first.code else ""
    order = "alone" if alone else f"first {by}"
    return f"{through(first)} ships {order}: {', '.join(_brings(first))}{speed}{although}"


def counts(group: Group) -> str:
    """How many of the candidates ship. A whole sentence; nothing where none does, for then the verdict says it."""
    ships, all_of = sum(c.shipped for c in group.candidates), len(group.candidates)
    if not ships:
        return ""
    if ships == all_of:
        return {1: "It is the one candidate.", 2: "Both candidates ship."}.get(
            all_of, f"All {all_of} candidates ship."
        )
    return f"{ships} of {all_of} candidates ship, {all_of - ships} rejected."


def _refused(candidates: Sequence[CandidateReport]) -> str:
    if not candidates:
        return "nothing was made for it"
    codes = Counter(c.code for c in candidates)
    each = ", ".join(f"{number} {code}" for code, number in codes.most_common())
    who = "the one candidate was" if len(candidates) == 1 else f"all {len(candidates)} candidates were"
    return f"{who} rejected ({each})"


def _brings(c: CandidateReport) -> list[str]:
    """Against float of the same format: size, accuracy, and speed where it was measured."""
    parts = []
    if c.variant in FLOATS and c.size_ratio == 1:
        parts.append("the size of float")
    elif c.size_ratio:
        smaller = c.size_ratio >= 1
        parts.append(f"{c.size_ratio if smaller else 1 / c.size_ratio:.1f} × {'smaller' if smaller else 'larger'}")
    elif c.size_bytes:
        parts.append(size(c.size_bytes))
    if c.loss is not None:
        parts.append(_lost(c.loss, c))
    if not c.unmeasured and c.p50_us is not None:
        fast = f"{c.float_ratio:.2f} × as fast, " if c.float_ratio and c.float_ratio != 1 else ""
        parts.append(f"{fast}{time(c.p50_us)} an inference")
    return parts


def _lost(loss: float, c: CandidateReport) -> str:
    if c.unit != "points":
        return f"{c.metric} {abs(loss):.1f} % {'better' if loss <= -0.05 else 'worse'}"
    return f"{abs(loss):.1f} points {'gained' if loss <= -0.05 else 'lost'}"


def size(number: float) -> str:
    """Bytes in words: `0.32 MB`, `54.6 kB`."""
    return f"{number / 1e6:.2f} MB" if number >= 1e5 else f"{number / 1e3:.1f} kB"


def time(value_us: float) -> str:
    """A time in words: `83 µs`, `12.5 ms`."""
    if value_us >= 10_000:
        return f"{value_us / 1000:.1f} ms"
    return f"{value_us:.0f} µs" if value_us >= 10 else f"{value_us:.1f} µs"


def objectives(c: CandidateReport) -> Objectives:
    """What the Pareto set is drawn by; times of another class decide nothing."""
    return Objectives(c.loss or 0.0, c.size_bytes, None if c.unmeasured else c.p50_us, c.peak_memory_bytes)


def beaten_by(c: CandidateReport, candidates: Sequence[CandidateReport]) -> CandidateReport | None:
    """What also ships, is nowhere worse than `c` and somewhere better, the first by rank; None in the Pareto set."""
    if not c.shipped or c.pareto or c.loss is None:
        return None
    better = (
        o for o in candidates if o.shipped and o.loss is not None and dominates(objectives(o), objectives(c))
    )
    return min(better, key=lambda o: o.rank or 0, default=None)


def why_beaten_ships(c: CandidateReport, other: CandidateReport) -> str:
    """Why `c` ships although `other` is nowhere worse and somewhere better. A whole sentence."""
    how = f"{through(other)} is nowhere worse and {_better(c, other)}"
    if c.rank is not None and other.rank is not None and other.rank < c.rank:
        return f"{how}, and stands before it."
    if c.unmeasured:
        return (
            f"{how}; yet the target's order goes by what an artifact computes in and by its runtime, until a device of "
            "this class has timed them."
        )
    return (
        f"{how}; yet the order goes by measured latency, in which this one leads by less than such times repeat."
    )


def _better(c: CandidateReport, other: CandidateReport) -> str:
    mine, theirs = objectives(c), objectives(other)
    found = []
    if theirs.size_bytes < mine.size_bytes:
        found.append(f"smaller by {max(100 * (1 - theirs.size_bytes / mine.size_bytes), 0.1):.1f} %")
    if theirs.lost_pp < mine.lost_pp:
        found.append(f"better by {c.measure.amount(mine.lost_pp - theirs.lost_pp)} of {c.metric}")
    for mine_is, theirs_is, word in (
        (mine.latency_us, theirs.latency_us, "faster"),
        (mine.memory_bytes, theirs.memory_bytes, "lighter in memory"),
    ):
        if mine_is is not None and theirs_is is not None and theirs_is < mine_is:
            found.append(f"{word} by {100 * (1 - theirs_is / mine_is):.0f} %")
    return " and ".join(found)


@dataclass(frozen=True)
class NextCommand:
    """A command to type next, and what for."""

    why: str
    command: str


def next_steps(report: BuildReport, folder: str = "") -> list[NextCommand]:
    """What to type now: publish and roll out what ships; where nothing does for a target, build again.

    Args:
        report: the build's.
        folder: of the release; empty for where a build puts it unless told otherwise.
    """
    name = shlex.quote(f"{report.model}@{report.version}")
    steps = []
    if any(c.shipped for c in report.candidates):
        where = shlex.quote(folder) if folder else shlex.quote(f"releases/{report.model}@{report.version}")
        note = "" if folder else "; the folder is the one that this page lies in"
        steps.append(NextCommand(f"Sign it and bring it to the site{note}", f"edgelift publish {where}"))
        dry = f"edgelift rollout start {name} --dry-run --to all"
        steps.append(NextCommand("See what a rollout would do before one starts", dry))
    for group in groups(report):
        if group.first is None and any(c.code in _ACCEPTED and c.size_bytes for c in group.candidates):
            boards = " ".join(f"-t {shlex.quote(t)}" for t in group.targets)
            again = f"edgelift build {shlex.quote(report.source)} {boards} --accept --force"
            steps.append(
                NextCommand(f"Once its reasons are read: ship for {group.name} what was refused, as it is", again)
            )
    return steps
