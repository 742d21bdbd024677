"""What `edgelift build` makes of a model of the zoo, by the default recipe and some more, and which ships first."""

import json
from importlib import resources
from pathlib import Path

import msgspec

from benchmarks.building.zoo import Entry
from edgelift_builder.build import Built, build
from edgelift_builder.report.progress import Quiet
from edgelift_builder.report.report import BuildReport, CandidateReport
from edgelift_builder.request import Request
from edgelift_contract.hardware import this_machine


def target() -> str:
    """The target that this machine is of."""
    return "x86-64-vnni" if this_machine() == "x86-64-vnni" else "x86-64"


def built(entry: Entry, folder: Path, *, extra: bool) -> Built:
    """Build it into `folder/release`, with the data sets in `folder/data`; with its extra variants or without."""
    (folder / "data").mkdir(parents=True)
    recipe = folder / f"{entry.name}.toml"
    recipe.write_text(recipe_text(entry, extra=extra), encoding="utf-8")
    return build(Request(entry.path, [target()], str(recipe), out=folder / "release"), Quiet(), folder / "data")


def recipe_text(entry: Entry, *, extra: bool) -> str:
    """The family's default recipe under the entry's name and budget, and its extra variants: on every target, even where
    the default recipe has one of that name for some.
    """
    more = entry.extra if extra else {}
    lines = [f'name = "{entry.name}"', f"accuracy_drop_pp = {entry.budget_pp}"]
    for v in msgspec.toml.decode(_default(entry.family))["variant"]:
        if more.get(v["name"], ("", ""))[0] != v["format"]:
            lines += ["[[variant]]", *(f"{name} = {_toml(value)}" for name, value in v.items())]
    for name, (form, steps) in more.items():
        lines += ["[[variant]]", f'name = "{name}"', f'format = "{form}"', f"steps = [{steps}]"]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    """A value as TOML has it: of those in recipes only tables differ from JSON."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(inner)}" for name, inner in value.items()) + " }"
    return f"[{', '.join(map(_toml, value))}]" if isinstance(value, list) else json.dumps(value)


def default_names(entry: Entry) -> set[tuple[str, str]]:
    """Name and format of each variant that only the family's default recipe makes."""
    named = {(v["name"], v["format"]) for v in msgspec.toml.decode(_default(entry.family))["variant"]}
    return named - {(name, form) for name, (form, _steps) in entry.extra.items()}


def _default(family: str) -> str:
    return resources.files("edgelift_builder").joinpath("recipes").joinpath(f"{family}.toml").read_text("utf-8")


def described(entry: Entry, report: BuildReport) -> dict:
    """The chosen artifact is the release's first: what a device of this hardware class would be given."""
    chosen = first(report)
    floats = {c.format: c.p50_us for c in report.candidates if c.variant == "float32" and c.p50_us}
    rest = sorted((c for c in report.candidates if c is not chosen), key=lambda c: c.p50_us or float("inf"))
    fastest = min(floats.values())
    return {
        "name": entry.name,
        "parameters": report.parameters,
        "family": entry.family,
        "metric": report.metric,
        "samples": report.samples,
        **_of(chosen, fastest),
        "verdict": chosen.verdict,
        "value": chosen.value,
        "method": chosen.method,
        "float_p50_us": floats,
        "p50_us": chosen.p50_us,
        "rounds": chosen.rounds,
        "threads": 1,
        "left_float": chosen.left_float,
        "lost": [_of(c, fastest) | {"code": c.code, "reason": c.reason or _why(c, chosen)} for c in rest],
    }


def first(report: BuildReport, among: set[tuple[str, str]] | None = None) -> CandidateReport:
    """What ships first, of all or of those named `among`."""
    ships = [
        c for c in report.candidates if c.rank is not None and (among is None or (c.variant, c.format) in among)
    ]
    return min(ships, key=lambda c: c.rank or 0)


def _of(c: CandidateReport, fastest_us: float) -> dict:
    """Ratios are against float of the same format, as everywhere in edgelift; `fastest_float_ratio` is against the
    fastest float of any format in the run. Losses in the metric's `unit`.
    """
    points = c.unit != "percent"
    return {
        "recipe": c.variant,
        "format": c.format,
        "steps": c.steps,
        "size_ratio": c.size_ratio,
        "latency_ratio": c.float_ratio,
        "latency_ratio_interval": [c.float_ratio_low, c.float_ratio_high],
        "fastest_float_ratio": round(fastest_us / c.p50_us, 4) if c.p50_us else None,
        "unit": c.unit,
        "loss": c.loss,
        "loss_interval": [c.loss_low, c.loss_high],
        "budget": c.budget,
        "accuracy_drop_pp": c.loss if points else None,
        "interval_pp": [c.loss_low, c.loss_high] if points else None,
        "budget_pp": c.budget if points else None,
    }


def _why(c: CandidateReport, chosen: CandidateReport) -> str:
    return f"passes its gates; {c.p50_us:.0f} µs against {chosen.p50_us:.0f}" if c.p50_us and chosen.p50_us else ""
