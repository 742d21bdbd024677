"""What a build says when it is done: a table, remarks below it, the verdict, where the release lies, and what to type next.

Names, paths and sentences come from the user, their model and their libraries: they are never read as markup, and what
would move the terminal's cursor is shown as `�`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgelift_builder.judge import vanished
from edgelift_builder.judge.worst import Worst
from edgelift_builder.report import unmeasured, verdict
from edgelift_builder.report.report import BuildReport, CandidateReport
from edgelift_contract.text import clean


def show(console: Console, report: BuildReport, folder: Path) -> None:
    """Print all of it, the verdict and what to type next last, where they are seen; `folder` is the release's."""
    console.print(table(report, console.width))
    for line in remarks(report):
        console.print(Text.assemble(("·", "dim"), f" {clean(line)}"), soft_wrap=True)
    for group in verdict.groups(report):
        console.print(Text(f"{clean(verdict.sentence(group))}.", "" if group.first else "red"), soft_wrap=True)
    console.print(Text.assemble("Release: ", (clean(str(folder)), "bold")), soft_wrap=True)
    for step in verdict.next_steps(report, str(folder))[:1]:
        console.print(Text.assemble("Next: ", (clean(step.command), "bold")), soft_wrap=True)


def table(report: BuildReport, width: int = 160) -> Table:
    """One line per candidate, best first for each target; rejected ones last; ◆ marks the Pareto set.
    Fits into `width` columns.

    A narrow terminal gets fewer columns rather than cut ones: whatever is left out stands in report.json.
    """
    narrow = width < _WIDE
    names = _NARROW if narrow else tuple(_COLUMNS)
    made = Table(
        title=Text(clean(f"{report.model}@{report.version}  {report.recipe}")), title_justify="left", title_style="bold",
        box=box.SIMPLE_HEAD if narrow else box.HEAVY_HEAD, padding=(0, 1, 0, 0) if narrow else (0, 1),
        pad_edge=not narrow,
    )  # fmt: skip
    for name in names:
        unit = "points" if report.unit == "points" else "%"
        title = {"metric": report.metric, "lost": f"lost, {unit}", **(_SHORT if narrow else {})}.get(name, name)
        made.add_column(
            Text(clean(title)),
            justify=_COLUMNS[name],
            no_wrap=not narrow or name not in ("variant", ""),
            overflow="fold",
        )
    shown = ""
    for candidate in sorted(report.candidates, key=lambda c: (report.targets.index(c.target), _order(c))):
        row = dict(zip(_COLUMNS, _row(candidate), strict=True))
        if narrow and candidate.target != shown:
            shown = candidate.target
            made.add_row(Text(clean(shown), "bold"))
        if narrow:
            row["variant"] = f"  {row['variant']}"
            row["size"] = row["size"].partition(" ÷")[0]
            row["lost"] = row["lost"].partition(" ")[0]
        cells = (Text(clean(row[name]), "" if name else _verdict_style(candidate)) for name in names)
        made.add_row(*cells, style="" if candidate.shipped else "dim")
    return made


#: Every column and how it is set; `_NARROW` are those that 80 columns have room for, the target above its rows.
_COLUMNS: dict[str, Literal["left", "right"]] = {
    "target": "left", "variant": "left", "runtime": "left", "size": "right", "metric": "right", "lost": "right",
    "p50": "right", "p95": "right", "vs float": "right", "": "left",
}  # fmt: skip
_NARROW = ("variant", "runtime", "size", "lost", "p50", "vs float", "")
_SHORT = {"lost": "lost", "vs float": "speed"}
_WIDE = 148


def remarks(report: BuildReport) -> list[str]:
    """Sentences below the table: why candidates were rejected, what stayed float, what could not be measured."""
    lines = [report.judged, *report.remarks]
    for c in report.candidates:
        name = f"{c.variant} {c.format} for {c.target}"
        if c.reason:
            lines.append(f"{name}: {'shipped although: ' if c.shipped else 'rejected: '}{c.reason} ({c.code})")
        lines += [f"{c.variant} {c.format}: {remark}" for remark in c.remarks]
        told = vanished.remark(tuple(c.classes))
        if told:
            lines.append(f"{name}: {told}")
        if c.worst and c.code in ("accuracy-over-budget", "not-enough-data"):
            lines.append(f"{name}: {furthest(c.worst)}")
    lines += _left_float(report)
    if report.search:
        kept = [f"{t.variant} is {', '.join(t.steps)}" for t in report.search if t.kept]
        by = f"{report.calibration_samples} calibration samples" if report.held_out else "the samples that judge"
        lines.append(
            f"Search: {len(report.search)} recipes compared by {by}, {len(kept)} kept. {'; '.join(kept)}".strip()
        )
    lines += [
        f"{c.variant} {c.format} for {c.target}: on an emulated {e.cpu} ({e.measured_on}, {e.runtime}) all {e.goldens} "
        f"goldens pass, {e.same_argmax} of {e.samples} samples as here."
        for c in report.candidates
        if (e := c.emulation)
    ]
    lines += unmeasured.remarks(report)
    return list(dict.fromkeys(lines))


def _left_float(report: BuildReport) -> list[str]:
    """What stayed float; with the targets' names where it is not the same for all of them."""
    places: dict[tuple[str, str], dict[str, list[str]]] = {}
    for c in report.candidates:
        if c.size_bytes:
            places.setdefault((c.variant, c.format), {}).setdefault(", ".join(c.left_float), []).append(c.target)
    return [
        f"{variant} {made}{'' if len(found) == 1 else ' for ' + ', '.join(targets)}: left float: {left}"
        for (variant, made), found in places.items()
        for left, targets in found.items()
        if left
    ]


def furthest(worst: Worst) -> str:
    """Where an artifact lies furthest from float, as a sentence."""
    samples = ", ".join(f"{moved.sample} ({moved.error:.3g} %)" for moved in worst.samples)
    where = f"{worst.output}, {worst.channel}"
    return f"furthest from float at {where}: {worst.error:.3g} %; samples that moved most: {samples}."


def _order(candidate: CandidateReport) -> int:
    return candidate.rank if candidate.rank is not None else 1000


def _row(c: CandidateReport) -> tuple[str, ...]:
    size = f"{c.size_bytes / 1e6:.2f} MB" + (f" ÷{c.size_ratio:.1f}" if c.size_ratio and c.size_ratio != 1 else "")
    return (
        c.target,
        f"{c.variant}{' ◆' if c.pareto else ''}",
        c.runtime,
        size if c.size_bytes else "–",
        c.measure.shown(c.value) if c.value is not None else "–",
        _lost(c),
        _us(c.p50_us, c),
        _us(c.p95_us, c),
        f"{c.float_ratio:.2f}×" if c.float_ratio else "–",
        _verdict(c),
    )


def _lost(c: CandidateReport) -> str:
    if c.loss is None or c.loss_low is None or c.loss_high is None:
        return "–"
    return f"{c.loss:.2f} ({c.loss_low:.2f} … {c.loss_high:.2f})"


def _us(value: float | None, c: CandidateReport) -> str:
    if value is None:
        return "on device" if c.shipped else "–"
    return f"{value:.0f} µs" if value < 10_000 else f"{value / 1000:.1f} ms"


def _verdict(c: CandidateReport) -> str:
    if not c.shipped:
        return c.code
    if c.code:
        return f"accepted: {c.code}"
    return ("ships first" if c.rank == 0 else "ships") + (", unmeasured" if c.unmeasured else "")


def _verdict_style(c: CandidateReport) -> str:
    if not c.shipped:
        return "red"
    return "yellow" if c.code else "green"
