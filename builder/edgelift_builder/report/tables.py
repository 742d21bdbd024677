"""The page's further tables: what each candidate's figures rest on. Texts alone; the template draws them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from edgelift_builder.report import pictures
from edgelift_builder.report.labels import runs
from edgelift_builder.report.report import BuildReport, CandidateReport, JudgementReport
from edgelift_builder.report.verdict import size

#: Layers and activations shown; the rest is in report.json.
_MOST_LAYERS, _MOST_RANGES = 24, 24

T = TypeVar("T")

#: A candidate with its number on the page and the names of the targets that get it.
Numbered = tuple[int, CandidateReport, str]


@dataclass(frozen=True)
class Head:
    """A column: what it is called, how it is set (`n`umbers, `name`s, `why`), and does it name its row."""

    text: str
    kind: str = ""
    row: bool = False


@dataclass(frozen=True)
class Table:
    """A table as the template takes it; its title stands right above it, its caption is for who hears it."""

    id: str
    title: str
    said: str
    caption: str
    heads: list[Head]
    rows: list[list[str]]


_NUMBER, _VARIANT = Head("#", "n"), Head("variant", "name", row=True)


def shown(numbered: Sequence[Numbered]) -> list[Table]:
    """Those that stand open, without the empty ones."""
    return _full(_every_metric(numbered), _classes(numbered), _beside(numbered), _furthest(numbered))


def folded(report: BuildReport, numbered: Sequence[Numbered]) -> list[Table]:
    """Those that are opened by whoever wants them."""
    return _full(_search(report), _goldens(numbered))


def _full(*tables: Table) -> list[Table]:
    return [table for table in tables if table.rows]


def _name(c: CandidateReport, targets: str) -> str:
    return f"{c.variant} {c.format} for {targets}"


def _every_metric(numbered: Sequence[Numbered]) -> Table:
    def of(number: int, c: CandidateReport, targets: str) -> Iterator[list[str]]:
        for j in c.judgements:
            values = (j.measure.shown(v) if v is not None else "–" for v in (j.value, j.baseline))
            unit = "points" if j.unit == "points" else "%"
            needed = f"{j.samples_needed:,}" if j.samples_needed else "–"
            yield [
                str(number),
                _name(c, targets),
                j.name,
                *values,
                _lost(j),
                f"{j.budget:g} {unit}",
                j.verdict,
                needed,
            ]

    n = "n"
    return Table(
        "metrics", "Every metric", 'All have to hold. A budget for any of them: --budget "METRIC=NUMBER".', "Every metric",
        [_NUMBER, _VARIANT, Head("metric", "word"), Head("value", n), Head("float", n), Head("lost", n), Head("budget", n),
         Head("verdict"), Head("samples that would tell", n)],
        [row for one in numbered if len(one[1].judgements) > 1 for row in of(*one)],
    )  # fmt: skip


def _lost(j: JudgementReport) -> str:
    if j.loss is None or j.loss_low is None or j.loss_high is None:
        return "–"
    return f"{j.loss:.2f} ({j.loss_low:.2f} … {j.loss_high:.2f})"


def _classes(numbered: Sequence[Numbered]) -> Table:
    """Classes that a candidate hardly says any more."""
    said = (
        "Of which half or more of what float has right is lost. One that is gone beyond chance is refused whatever is lost "
        "over all classes."
    )
    return Table(
        "classes", "Classes that are lost", said, "Classes that are lost",
        [_NUMBER, _VARIANT, Head("class", "n"), Head("metric", "word"), Head("float has right", "n"),
         Head("it has right", "n"), Head("beyond chance")],
        [[str(number), _name(c, targets), str(one.label), one.metric, str(one.theirs), str(one.ours),
          "gone" if one.gone else "may be chance"]
         for number, c, targets in numbered for one in c.classes],
    )  # fmt: skip


def _beside(numbered: Sequence[Numbered]) -> Table:
    return Table(
        "beside", "Measured beside", "Further measures of the same answers; they decide nothing.", "Measured beside",
        [_NUMBER, _VARIANT, Head("measure", "word"), Head("value", "n"), Head("float", "n")],
        [[str(number), _name(c, targets), measure, f"{own:.4g}", f"{theirs:.4g}"]
         for number, c, targets in numbered for measure, (own, theirs) in c.beside.items()],
    )  # fmt: skip


def _furthest(numbered: Sequence[Numbered]) -> Table:
    """Where each candidate lies furthest from float, and the samples that moved most."""
    said = (
        "The output and channel with the largest relative error (root mean square of the difference ÷ float's own variation "
        "there), and the evaluation samples whose answers moved most, numbered from 0."
    )
    return Table(
        "furthest", "Furthest from float", said, "Furthest from float",
        [_NUMBER, _VARIANT, Head("output", "word"), Head("channel", "word"), Head("relative error", "n"),
         Head("samples", "why")],
        [[str(number), _name(c, targets), c.worst.output, c.worst.channel, f"{c.worst.error:.3g} %",
          ", ".join(f"{moved.sample} ({moved.error:.3g} %)" for moved in c.worst.samples)]
         for number, c, targets in numbered if c.worst],
    )  # fmt: skip


def _search(report: BuildReport) -> Table:
    return Table(
        "search", "Search", "Every recipe that was tried.", "Recipes that were tried",
        [Head("target", "word"), Head("variant", "name", row=True), Head("outcome"), Head("steps", "why"), Head("size", "n"),
         Head(f"lost, {'points' if report.unit == 'points' else '%'}", "n"), Head("× float", "n")],
        [[t.target, t.variant, "joined the candidates" if t.kept else "not kept",
          ", ".join(t.steps) + (f": {t.reason}" if t.reason else ""),
          size(t.size_bytes) if t.size_bytes else "–",
          f"{t.loss:.2f}" if t.loss is not None else "–",
          f"{t.float_ratio:.2f}" if t.float_ratio else "–"]
         for t in report.search],
    )  # fmt: skip


def _goldens(numbered: Sequence[Numbered]) -> Table:
    said = (
        "Inputs with the answers that a device must give: equal to the bit on the machine that built them with the same "
        "runtime and options; elsewhere within the tolerance."
    )
    return Table(
        "goldens", "Goldens", said, "Goldens",
        [_NUMBER, Head("artifact"), _VARIANT, Head("tolerance", "n"), Head("one quantum", "n"),
         Head("other kernels differ by", "n"), Head("emulated", "why")],
        [[str(number), c.artifact[:12] or "–", _name(c, targets),
          f"{c.golden_atol:.3g}",
          f"{c.golden_quantum:.3g}" if c.golden_quantum else "–",
          f"{c.golden_kernels_apart:.3g}" if c.golden_kernels_apart is not None else "–",
          _emulated(c)]
         for number, c, targets in numbered if c.golden_atol is not None],
    )  # fmt: skip


def _emulated(c: CandidateReport) -> str:
    e = c.emulation
    if e is None:
        return "–"
    return f"{e.cpu}, {e.runtime}: {e.goldens} goldens within {e.worst:.3g}; {e.same_argmax} of {e.samples} alike"


def sensitivity(numbered: Sequence[Numbered]) -> list[dict[str, Any]]:
    """Bars for each candidate whose layers were tried alone; once where several have the same."""
    drawn = [
        (
            number,
            c,
            pictures.bars([(s.layer, max(s.noise, 0.0), s.reverted) for s in c.sensitivity[:_MOST_LAYERS]]),
            0,
        )
        for number, c, _ in numbered
        if c.sensitivity
    ]
    return [{"name": name, "bars": shapes} for name, shapes, _ in _once(drawn)]


def ranges(numbered: Sequence[Numbered]) -> list[dict[str, Any]]:
    """Histograms of what calibration saw for each candidate; once where several have the same. `more` are left out."""
    drawn = [
        (
            number,
            c,
            [
                pictures.histogram(r.tensor, r.counts, r.least, r.most, r.low, r.high)
                for r in c.ranges[:_MOST_RANGES]
            ],
            max(0, len(c.ranges) - _MOST_RANGES),
        )
        for number, c, _ in numbered
        if any(r.counts for r in c.ranges)
    ]
    return [{"name": name, "histograms": shapes, "more": more} for name, shapes, more in _once(drawn)]


def _once(drawn: Sequence[tuple[int, CandidateReport, list[T], int]]) -> list[tuple[str, list[T], int]]:
    """`(name, shapes, how many are left out)`, those of one variant that look the same under all their numbers."""
    found: list[tuple[str, list[int], list[T], int]] = []
    for number, c, shapes, more in drawn:
        name = f"{c.variant} {c.format}"
        same = next((f for f in found if f[0] == name and f[2:] == (shapes, more)), None)
        if same is None:
            found.append((name, [number], shapes, more))
        else:
            same[1].append(number)
    return [(f"{runs(numbers)}: {name}", shapes, more) for name, numbers, shapes, more in found]


def facts(report: BuildReport) -> list[tuple[str, str]]:
    """What was built of what, where, with what, and how long it took."""
    found = [
        ("source", f"{report.source}, SHA-256 {report.source_sha256}"),
        ("evaluation data", f"{report.samples} samples, SHA-256 {report.data_sha256}"),
        ("calibration", f"{report.calibration_samples} samples"),
        ("release counter", str(report.release_counter)),
        ("hardware class", report.measured_on),
    ]
    found += [(f"runtime {name}", version) for name, version in sorted(report.runtimes.items())]
    found += [(f"tool {name}", version) for name, version in sorted(report.tools.items())]
    return found + [(f"time to {stage}", f"{s:.1f} s") for stage, s in report.seconds.items()]
