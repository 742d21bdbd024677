"""`report.html`: the report as one page that needs nothing else: no script, no network, pictures drawn inline.

Made of the `BuildReport` alone: equal reports give equal bytes. Names in it are the user's, their model's and their
libraries': each is escaped, and what would be invisible or turn a line round is shown as `�`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import jinja2

from edgelift_builder.report import pictures, tables, unmeasured, verdict
from edgelift_builder.report.report import BuildReport, CandidateReport
from edgelift_builder.report.tables import Numbered
from edgelift_builder.report.verdict import Group
from edgelift_contract.text import clean

PAGE_FILE = "report.html"


def render(report: BuildReport) -> str:
    """The page. What the user wrote (names, remarks) is escaped."""
    found = verdict.groups(report)
    each: list[list[Numbered]] = []
    for group in found:  # numbers go on from one group to the next, so that each means one candidate on this page
        start = sum(map(len, each)) + 1
        each.append([(number, c, group.name) for number, c in enumerate(group.candidates, start)])
    numbered = [one for mine in each for one in mine]
    told = [f"{c.variant} {c.format}: {said}" for _, c, _ in numbered for said in c.remarks]
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            r=report,
            groups=[_group(report, i, g, mine) for i, (g, mine) in enumerate(zip(found, each, strict=True), 1)],
            steps=verdict.next_steps(report),
            remarks=list(dict.fromkeys([*report.remarks, *unmeasured.remarks(report), *told])),
            tables=tables.shown(numbered),
            folded=tables.folded(report, numbered),
            sensitivity=tables.sensitivity(numbered),
            ranges=tables.ranges(numbered),
            environment=tables.facts(report),
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


def _group(report: BuildReport, index: int, group: Group, mine: Sequence[Numbered]) -> dict[str, Any]:
    """All that the page shows of targets that get the same."""
    first = group.first
    better = verdict.beaten_by(first, group.candidates) if first else None
    signs = dict.fromkeys(verdict.sign(c) for c in group.candidates)
    drawn = _pictures(report, mine)
    alone = len(group.targets) == 1
    return {
        "id": f"t{index}",
        "name": group.name,
        "classes": ", ".join(group.classes),
        "sign": verdict.sign(first) if first else "rejected",
        "word": _word(first),
        "told": verdict.told(group),
        "beaten": verdict.why_beaten_ships(first, better) if first and better else "",
        "counts": verdict.counts(group),
        "alike": "" if alone else "These targets get the same artifacts; they are told of once.",
        "pictures": drawn,
        "key": [(kind, word) for kind, word in verdict.SIGNS.items() if kind in signs],
        "times": _times(report, group),
        **_table(report, mine),
        "reasons": _reasons(group, mine),
    }


def _word(first: CandidateReport | None) -> str:
    if first is None:
        return "Nothing ships"
    return (
        "Ships although a gate refused it" if first.code else "Ships, unmeasured" if first.unmeasured else "Ships"
    )


def _times(report: BuildReport, group: Group) -> str:
    """Of what machine the times in a table are."""
    timed = [c for c in group.candidates if c.p50_us is not None]
    if not timed:
        return "Times are measured on the device."
    if timed[0].unmeasured:
        return f"Times are of this {report.measured_on} machine, not of the target's class: they rank nothing."
    return f"Times are of this {report.measured_on} machine."


def _pictures(report: BuildReport, mine: Sequence[Numbered]) -> list[pictures.Scatter]:
    y_name = f"{report.metric} against float, {'points' if report.unit == 'points' else 'per cent'}"
    limit = -max((c.budget or 0.0 for _, c, _ in mine), default=0.0)
    drawn = []
    for title, name, units, values in (
        ("Size and accuracy", "size", _SIZES, [float(c.size_bytes) for _, c, _ in mine]),
        (
            "Latency and accuracy",
            f"median latency on {report.measured_on}",
            _TIMES,
            [c.p50_us or 0.0 for _, c, _ in mine],
        ),
    ):
        scale, unit = next((s, u) for s, u in units if max(values, default=0.0) >= s or s == 1)
        dots = [
            pictures.Dot(n, f"{c.variant} {c.format}, {verdict.outcome(c)}", x / scale, -c.loss, -c.loss_high, -c.loss_low,
                         verdict.sign(c), c.pareto)
            for (n, c, _), x in zip(mine, values, strict=True)
            if x and c.loss is not None and c.loss_low is not None and c.loss_high is not None
        ]  # fmt: skip
        if dots:
            drawn.append(pictures.scatter(title, f"{name}, {unit}", y_name, dots, limit))
    return drawn


#: Units of an axis, largest first: the first that its largest value fills is taken.
_SIZES = ((1e6, "MB"), (1e3, "kB"), (1, "bytes"))
_TIMES = ((1e3, "ms"), (1, "µs"))


def _table(report: BuildReport, mine: Sequence[Numbered]) -> dict[str, Any]:
    """The candidates' table, without the columns that would be empty."""
    lost = f"lost, {'points' if report.unit == 'points' else '%'}"
    heads = [report.metric, lost, "size", "p50", "against float", "memory"]
    rows = [_row(number, c) for number, c, _ in mine]
    full = [any(row["cells"][i] not in (_NOTHING, _AWAY) for row in rows) for i in range(len(heads))]
    for row in rows:
        row["cells"] = [cell for cell, shown in zip(row["cells"], full, strict=True) if shown]
    return {"heads": [head for head, shown in zip(heads, full, strict=True) if shown], "rows": rows}


#: What stands where there is no figure: at all, or until a device has measured it.
_NOTHING, _AWAY = ("–", ""), ("on device", "")


def _row(number: int, c: CandidateReport) -> dict[str, Any]:
    """A line of the candidates' table; `cells` are `(what, what stands small below it)`."""
    away = _AWAY if c.shipped else _NOTHING
    return {
        "number": number,
        "sign": verdict.sign(c),
        "front": c.pareto,
        "outcome": verdict.outcome(c),
        "beside": ", ".join(
            word for word, holds in (("unbeaten", c.pareto), ("unmeasured", c.shipped and c.unmeasured)) if holds
        ),
        "name": c.variant,
        "made": f"{c.format}, {verdict.runtime(c.runtime)}",
        "cells": [
            (c.measure.shown(c.value) if c.value is not None else "–", ""),
            _lost(c),
            (verdict.size(c.size_bytes), f"÷ {c.size_ratio:.2f}" if c.size_ratio else "") if c.size_bytes else _NOTHING,
            (verdict.time(c.p50_us), f"p95 {verdict.time(c.p95_us or 0.0)}") if c.p50_us is not None else away,
            (f"{c.float_ratio:.2f} × as fast", f"{c.float_ratio_low:.2f} … {c.float_ratio_high:.2f}")
            if c.float_ratio else _NOTHING,
            (f"{c.peak_memory_bytes / 1e6:.1f} MB" if c.peak_memory_bytes is not None else "–", ""),
        ],
    }  # fmt: skip


def _lost(c: CandidateReport) -> tuple[str, str]:
    if c.loss is None or c.loss_low is None or c.loss_high is None:
        return _NOTHING
    return f"{c.loss:.2f}", f"{c.loss_low:.2f} … {c.loss_high:.2f}"


def _reasons(group: Group, mine: Sequence[Numbered]) -> list[dict[str, Any]]:
    """Why candidates were rejected, why some ship although a gate refused them, and why some ship that are beaten."""
    beaten = [(n, c, verdict.beaten_by(c, group.candidates)) for n, c, _ in mine]
    found = [
        {
            "title": "Rejected, and why",
            "said": "",
            "rows": [_reason(n, c, c.reason) for n, c, _ in mine if not c.shipped],
        },
        {
            "title": "Shipped although a gate refused it",
            "said": "By --accept.",
            "rows": [_reason(n, c, c.reason) for n, c, _ in mine if c.shipped and c.code],
        },
        {
            "title": "Shipped although another is better",
            "said": "Whatever passes all gates ships: a device takes the first that its runtimes can load.",
            "rows": [_reason(n, c, verdict.why_beaten_ships(c, other)) for n, c, other in beaten if other],
        },
    ]
    return [reasons for reasons in found if reasons["rows"]]


def _reason(number: int, c: CandidateReport, why: str) -> dict[str, Any]:
    return {
        "number": number,
        "sign": verdict.sign(c),
        "front": c.pareto,
        "name": f"{c.variant} {c.format}",
        "code": c.code,
        "why": why,
    }
