"""`report.html`: the report as one page that needs nothing else: no script, no network, pictures drawn inline.

Made of the `BuildReport` alone: equal reports give equal bytes. Names in it are the user's, their model's and their
libraries': each is escaped, and what would be invisible or turn a line round is shown as `�`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import jinja2

from edgelift_builder.recipe import FLOATS
from edgelift_builder.report import pictures, unmeasured
from edgelift_builder.report.report import BuildReport, CandidateReport, JudgementReport
from edgelift_contract.text import clean

PAGE_FILE = "report.html"

#: Layers and activations shown; the rest is in report.json.
_MOST_LAYERS, _MOST_RANGES = 24, 24

Numbered = tuple[int, CandidateReport]


def render(report: BuildReport) -> str:
    """The page. What the user wrote (names, remarks) is escaped."""
    numbered: list[Numbered] = list(enumerate(_in_order(report), 1))
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            r=report,
            unmeasured=unmeasured.remarks(report),
            told=list(dict.fromkeys(f"{c.variant} {c.format}: {said}" for _, c in numbered for said in c.remarks)),
            targets=[_target(report, name, numbered) for name in report.targets],
            furthest=[_furthest(n, c) for n, c in numbered if c.worst],
            judged=[row for n, c in numbered if len(c.judgements) > 1 for row in _judged(n, c)],
            classes=[row for n, c in numbered for row in _classes(n, c)],
            beside=[row for n, c in numbered for row in _beside(n, c)],
            sensitivity=_sensitivity(numbered),
            ranges=_ranges(numbered),
            goldens=[_golden(c) for _, c in numbered if c.golden_atol is not None],
            environment=_facts(report),
        )
    )


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("edgelift_builder.report"),
        autoescape=True,
        finalize=_harmless,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _harmless(value: object) -> object:
    """What a template is about to show; its own markup is made of what was shown so before."""
    return clean(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _in_order(report: BuildReport) -> list[CandidateReport]:
    """By target; what ships first, best first, then the rejected."""
    return sorted(report.candidates, key=lambda c: (report.targets.index(c.target), c.rank is None, c.rank or 0))


def _target(report: BuildReport, name: str, numbered: Sequence[Numbered]) -> dict[str, Any]:
    mine = [(n, c) for n, c in numbered if c.target == name]
    return {
        "name": name,
        "hardware_class": mine[0][1].hardware_class if mine else "",
        "sentence": _sentence(mine),
        "pictures": _pictures(report, mine),
        "rows": [{"kind": _kind(c), "cells": _cells(n, c)} for n, c in mine],
        "rejected": [
            {"number": n, "name": f"{c.variant} {c.format}", "code": c.code, "reason": c.reason}
            for n, c in mine
            if not c.shipped
        ],
    }


def _sentence(mine: Sequence[Numbered]) -> str:
    """What a device of this target is given, and what that brings."""
    first = next((c for _, c in mine if c.rank == 0), None)
    if first is None:
        return "Nothing ships for this target."
    parts = [f"First choice: {first.variant} through {first.runtime}"]
    if first.size_ratio and first.size_ratio != 1:
        parts.append(f"{first.size_ratio:.1f} times smaller than float")
    if first.float_ratio and first.float_ratio != 1 and not first.unmeasured:
        parts.append(f"{first.float_ratio:.2f} times as fast")
    if first.loss is not None and first.loss_low is not None and first.loss_high is not None:
        parts.append(f"{first.measure.amount(first.loss)} lost ({first.loss_low:.2f} to {first.loss_high:.2f})")
    measured = (
        " Unmeasured on this class: the order is the target's own until a device tells."
        if first.unmeasured
        else ""
    )
    return f"{', '.join(parts)}.{measured}"


def _pictures(report: BuildReport, mine: Sequence[Numbered]) -> list[pictures.Scatter]:
    y_name = f"{report.metric} against float, {'points' if report.unit == 'points' else 'per cent'}"
    limit = -max((c.budget or 0.0 for _, c in mine), default=0.0)
    latency = [(c.p50_us or 0.0) / 1e3 for _, c in mine]
    size = [c.size_bytes / 1e6 for _, c in mine]
    drawn = []
    for words, x_name, values in (
        ("Latency and accuracy", "median latency, ms", latency),
        ("Size and accuracy", "size, MB", size),
    ):
        dots = [
            pictures.Dot(n, f"{c.variant} {c.format}", x, -c.loss, -c.loss_high, -c.loss_low,
                         _kind(c), c.pareto)
            for (n, c), x in zip(mine, values, strict=True)
            if x and c.loss is not None and c.loss_low is not None and c.loss_high is not None
        ]  # fmt: skip
        if dots:
            drawn.append(pictures.scatter(words, x_name, y_name, dots, limit))
    return drawn


def _kind(c: CandidateReport) -> str:
    if not c.shipped:
        return "rejected"
    return "float" if c.variant in FLOATS else "ships"


def _cells(number: int, c: CandidateReport) -> list[str]:
    measured = c.p50_us is not None and c.p95_us is not None
    away = "on device" if c.shipped else "–"
    return [
        str(number),
        f"{c.variant}{' ◆' if c.pareto else ''}",
        f"{c.runtime}",
        f"{c.size_bytes / 1e6:.2f} MB" if c.size_bytes else "–",
        f"{c.size_ratio:.2f}" if c.size_ratio else "–",
        c.measure.shown(c.value) if c.value is not None else "–",
        _lost(c),
        _time(c.p50_us) if measured else away,
        _time(c.p95_us) if measured else away,
        f"{c.float_ratio:.2f} ({c.float_ratio_low:.2f} … {c.float_ratio_high:.2f})" if c.float_ratio else "–",
        f"{c.peak_memory_bytes / 1e6:.1f} MB" if c.peak_memory_bytes is not None else "–",
        c.code or ("ships first" if c.rank == 0 else "ships") + (", unmeasured" if c.unmeasured else ""),
    ]


def _lost(c: CandidateReport | JudgementReport) -> str:
    if c.loss is None or c.loss_low is None or c.loss_high is None:
        return "–"
    return f"{c.loss:.2f} ({c.loss_low:.2f} … {c.loss_high:.2f})"


def _time(value_us: float | None) -> str:
    value = value_us or 0.0
    return f"{value:.0f} µs" if value < 10_000 else f"{value / 1000:.1f} ms"


def _furthest(number: int, c: CandidateReport) -> list[str]:
    """Where a candidate lies furthest from float, and the samples that moved most."""
    assert c.worst is not None, "only what has one is asked for"
    samples = ", ".join(f"{moved.sample} ({moved.error:.3g} %)" for moved in c.worst.samples)
    name = f"{c.variant} {c.format} for {c.target}"
    return [str(number), name, c.worst.output, c.worst.channel, f"{c.worst.error:.3g} %", samples]


def _judged(number: int, c: CandidateReport) -> list[list[str]]:
    """All metrics of a candidate: every one has to hold."""
    name = f"{c.variant} {c.format} for {c.target}"
    return [
        [str(number), name, j.name, *(j.measure.shown(v) if v is not None else "–" for v in (j.value, j.baseline)),
         _lost(j), f"{j.budget:g} {'points' if j.unit == 'points' else '%'}",
         j.verdict, f"{j.samples_needed:,}" if j.samples_needed else "–"]
        for j in c.judgements
    ]  # fmt: skip


def _classes(number: int, c: CandidateReport) -> list[list[str]]:
    """Classes that a candidate hardly says any more."""
    name = f"{c.variant} {c.format} for {c.target}"
    return [
        [
            str(number),
            name,
            str(one.label),
            one.metric,
            str(one.theirs),
            str(one.ours),
            "gone" if one.gone else "may be chance",
        ]
        for one in c.classes
    ]


def _beside(number: int, c: CandidateReport) -> list[list[str]]:
    """Further measures of a candidate, which decide nothing."""
    name = f"{c.variant} {c.format} for {c.target}"
    return [
        [str(number), name, measure, f"{own:.4g}", f"{theirs:.4g}"] for measure, (own, theirs) in c.beside.items()
    ]


def _sensitivity(numbered: Sequence[Numbered]) -> list[dict[str, Any]]:
    return [
        {
            "name": f"{n}  {c.variant} {c.format} for {c.target}",
            "bars": pictures.bars(
                [(s.layer, max(s.noise, 0.0), s.reverted) for s in c.sensitivity[:_MOST_LAYERS]]
            ),
        }
        for n, c in numbered
        if c.sensitivity
    ]


def _ranges(numbered: Sequence[Numbered]) -> list[dict[str, Any]]:
    return [
        {
            "name": f"{n}  {c.variant} {c.format} for {c.target}",
            "histograms": [
                pictures.histogram(r.tensor, r.counts, r.least, r.most, r.low, r.high)
                for r in c.ranges[:_MOST_RANGES]
            ],
            "more": max(0, len(c.ranges) - _MOST_RANGES),
        }
        for n, c in numbered
        if any(r.counts for r in c.ranges)
    ]


def _golden(c: CandidateReport) -> list[str]:
    return [
        c.artifact[:12] or "–",
        f"{c.variant} {c.format}",
        c.target,
        f"{c.golden_atol:.3g}",
        f"{c.golden_quantum:.3g}" if c.golden_quantum else "–",
        f"{c.golden_kernels_apart:.3g}" if c.golden_kernels_apart is not None else "–",
        _emulated(c),
    ]


def _emulated(c: CandidateReport) -> str:
    e = c.emulation
    if e is None:
        return "–"
    return f"{e.cpu}, {e.runtime}: {e.goldens} goldens within {e.worst:.3g}; {e.same_argmax} of {e.samples} alike"


def _facts(report: BuildReport) -> list[tuple[str, str]]:
    facts = [
        ("source", f"{report.source}, SHA-256 {report.source_sha256}"),
        ("evaluation data", f"{report.samples} samples, SHA-256 {report.data_sha256}"),
        ("calibration", f"{report.calibration_samples} samples"),
        ("release counter", str(report.release_counter)),
        ("hardware class", report.measured_on),
    ]
    facts += [(f"runtime {name}", version) for name, version in sorted(report.runtimes.items())]
    facts += [(f"tool {name}", version) for name, version in sorted(report.tools.items())]
    return facts + [(f"time to {stage}", f"{s:.1f} s") for stage, s in report.seconds.items()]
