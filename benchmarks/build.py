"""What the builder makes of nine models: size, speed and accuracy of the chosen artifact against float, on one thread."""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.common import arguments, show, write
from edgelift_builder.build import build
from edgelift_builder.report.progress import Quiet
from edgelift_builder.report.report import BuildReport, CandidateReport
from edgelift_builder.request import Request
from edgelift_contract.hardware import this_machine

EXAMPLES = Path(__file__).parent.parent / "builder" / "examples"
Family = Literal["cnn", "transformer", "rnn", "mlp"]

Steps = dict[str, tuple[str, str]]


def _onnx(name: str, step: str) -> Steps:
    """A variant that does `step` to the exported graph."""
    return {name: ("onnx", f'"export-onnx", {step}')}


def _module(name: str, step: str) -> Steps:
    """A variant that changes the module first, and then quantises its graph."""
    return {
        name: (
            "onnx",
            f'{step}, "export-onnx", {{ step = "static-int8", calibration = "percentile", revert = 4 }}',
        )
    }


#: Variants: name → format and steps; which are compared for which model stands in `ZOO`.
_MINMAX = _onnx("int8-static", '{ step = "static-int8", calibration = "minmax", revert = 4 }')
_CHANNEL = _onnx("int8-static-channel", '{ step = "static-int8", granularity = "channel", revert = 4 }')
_PERCENTILE = _onnx("int8-static-percentile", '{ step = "static-int8", calibration = "percentile", revert = 4 }')
_ENTROPY = _onnx("int8-static-entropy", '{ step = "static-int8", calibration = "entropy", revert = 4 }')
_DYNAMIC = _onnx("int8-dynamic", '"dynamic-int8-onnx"') | _onnx(
    "int8-dynamic-channel", '{ step = "dynamic-int8-onnx", per_channel = true }'
)
_FP16 = _onnx("fp16", '"fp16"')
_WEIGHTS = _onnx("int8-weight-only", '{ step = "weight-only", bits = 8, group = 32 }') | _onnx(
    "int4-weight-only", '{ step = "weight-only", bits = 4, group = 32 }'
)
_LITERT: Steps = {"int8-static-litert": ("tflite", '"export-tflite", "tflite-static-int8"')}
_TORCHSCRIPT: Steps = {
    "int8-dynamic-script": ("torchscript", '{ step = "dynamic-int8", layers = ["Linear", "GRU"] }')
}
_PRUNED = (
    _module("pruned-int8", '{ step = "prune-channels", amount = 0.2 }')
    | _module("sparse-int8", '{ step = "prune-weights", pattern = "2:4" }')
    | _module("qat-int8", '"quantisation-aware"')
)
_SHALLOW = _module("shallow-int8", '{ step = "prune-layers", count = 1 }') | _module(
    "distilled-int8", '{ step = "prune-channels", amount = 0.2 }, { step = "distil", epochs = 10 }'
)
_HALVED: Steps = {
    "shallow-int8": (
        "onnx",
        '{ step = "prune-layers", count = 1 }, { step = "distil", epochs = 20 }, "export-onnx", "dynamic-int8-onnx"',
    )
}
_SMALL = _MINMAX | _CHANNEL | _PERCENTILE | _FP16


@dataclass(frozen=True)
class Entry:
    """One model of the zoo.

    Attributes:
        name, source, family: what it is; the source is a file and function of `builder/examples`.
        budget_pp: most that it may lose; 0.5 points can be shown to hold with 765 samples or more, so models
            with fewer declare what theirs can show.
        variants: name → format and steps, besides each format's float.
    """

    name: str
    source: str
    family: Family
    variants: Steps
    budget_pp: float = 0.5


ZOO = (
    Entry("simplecnn", "simplecnn.py:digits", "cnn", _SMALL | _ENTROPY | _DYNAMIC | _WEIGHTS | _LITERT | _PRUNED),
    Entry("resnet8", "resnet8.py:digits", "cnn", _SMALL | _LITERT | _SHALLOW),
    Entry("dscnn", "dscnn.py:digits", "cnn", _SMALL | _LITERT),
    Entry("mlp", "mlp.py:breast_cancer", "mlp", _SMALL | _DYNAMIC | _WEIGHTS | _LITERT, budget_pp=1.5),
    Entry("gru", "gru.py:digits", "rnn", _MINMAX | _DYNAMIC | _FP16 | _TORCHSCRIPT),
    Entry("vit", "vit.py:digits", "transformer", _MINMAX | _DYNAMIC | _WEIGHTS | _LITERT | _HALVED),
    Entry("resnet18", "fullsize.py:resnet18", "cnn", _MINMAX | _CHANNEL | _LITERT),
    Entry("mobilenetv2", "fullsize.py:mobilenetv2", "cnn", _MINMAX | _CHANNEL | _LITERT),
    Entry("bert6", "fullsize.py:bert6", "transformer", _DYNAMIC),
)

#: What is to be reached on a host with VNNI: (what, at least or at most, how much).
Bar = tuple[str, Literal["≥", "≤"], float]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--only", action="append", choices=[e.name for e in ZOO], help="this model; repeat for more"
    )
    parsed = parser.parse_args()
    models = list(_models(parsed))
    show("chosen, against float", [_row(m) for m in models], _COLUMNS)
    lost = [
        [m["name"], f"{c['recipe']} {c['format']}", _figures(c), c["reason"]] for m in models for c in m["lost"]
    ]
    show("not chosen", lost, ["model", "variant", "figures", "why"])
    bars = list(_bars(models))
    show(
        "bars",
        [[what, f"{sign} {bar:g}", value, "yes" if met else "NO"] for what, sign, bar, value, met in bars],
        _BARS,
    )
    figures = [{"what": w, "bar": f"{s} {b:g}", "value": v, "met": m} for w, s, b, v, m in bars]
    write(parsed.json, {"target": _target(), "models": models, "bars": figures})
    sys.exit(0 if all(met for *_, met in bars) else 1)


def _target() -> str:
    return "x86-64-vnni" if this_machine() == "x86-64-vnni" else "x86-64"


def _models(parsed: argparse.Namespace) -> Iterator[dict]:
    with tempfile.TemporaryDirectory() as folder:
        for entry in ZOO:
            if parsed.only and entry.name not in parsed.only:
                continue
            started = time.monotonic()
            model = _measured(entry, _built(entry, Path(folder)))
            model["seconds"] = round(time.monotonic() - started, 1)
            print(
                f"{entry.name:12} {model['recipe']:20} {model['format']:6} {_figures(model)} ({model['seconds']:.0f} s)",
                file=sys.stderr,
            )
            yield model


def _built(entry: Entry, folder: Path) -> BuildReport:
    recipe = folder / f"{entry.name}.toml"
    lines = [f'name = "{entry.name}"', f"accuracy_drop_pp = {entry.budget_pp}"]
    floats = {form: f'"export-{form}"' for form in sorted({form for form, _ in entry.variants.values()})}
    variants = [("float32", *f) for f in floats.items()] + [(name, *v) for name, v in entry.variants.items()]
    for name, form, steps in variants:
        lines += ["[[variant]]", f'name = "{name}"', f'format = "{form}"', f"steps = [{steps}]"]
    recipe.write_text("\n".join(lines) + "\n")
    source = f"{EXAMPLES / entry.source}"
    return build(Request(source, [_target()], str(recipe), out=folder / entry.name), Quiet()).report


def _measured(entry: Entry, report: BuildReport) -> dict:
    """The chosen artifact is the release's first: what a device of this hardware class would be given."""
    chosen = next(c for c in report.candidates if c.rank == 0)
    floats = {c.format: c.p50_us for c in report.candidates if c.variant == "float32" and c.p50_us}
    fastest = min(floats.values())
    rest = sorted((c for c in report.candidates if c is not chosen), key=lambda c: c.p50_us or float("inf"))
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


def _of(c: CandidateReport, fastest_us: float) -> dict:
    """Ratios are against float of the same format, as everywhere in edgelift; `fastest_float_ratio` is against the
    fastest float of any format in the run.
    """
    return {
        "recipe": c.variant,
        "format": c.format,
        "steps": c.steps,
        "size_ratio": c.size_ratio,
        "latency_ratio": c.float_ratio,
        "latency_ratio_interval": [c.float_ratio_low, c.float_ratio_high],
        "fastest_float_ratio": round(fastest_us / c.p50_us, 4) if c.p50_us else None,
        "accuracy_drop_pp": c.drop_pp,
        "interval_pp": [c.drop_low_pp, c.drop_high_pp],
        "budget_pp": c.budget_pp,
    }


def _why(c: CandidateReport, chosen: CandidateReport) -> str:
    return f"passes its gates; {c.p50_us:.0f} µs against {chosen.p50_us:.0f}" if c.p50_us and chosen.p50_us else ""


def _bars(models: list[dict]) -> Iterator[tuple[str, str, float, float, bool]]:
    """The figures to reach, with what was reached; only those that some model speaks to."""
    if not models:
        return
    latency = {f: [m["latency_ratio"] for m in models if m["family"] == f] for f in ("cnn", "transformer")}
    large = [m["size_ratio"] for m in models if m["parameters"] >= 10_000_000]
    middle = [m["size_ratio"] for m in models if 1_000_000 <= m["parameters"] < 10_000_000]
    over = sum(m["interval_pp"][1] > m["budget_pp"] and m["recipe"] != "float32" for m in models)
    yield from (
        _bar("median accuracy loss, points", "≤", 0.3, statistics.median(m["accuracy_drop_pp"] for m in models)),
        _bar("models over their budget", "≤", 0, over),
        _bar("models slower than the fastest float", "≤", 0, sum(m["fastest_float_ratio"] < 1 for m in models)),
    )
    if large:
        yield _bar("least size ratio, 10 M parameters and more", "≥", 3.9, min(large))
    if middle:
        yield _bar("least size ratio, 1 to 10 M parameters", "≥", 3.1, min(middle))
    if latency["cnn"]:
        yield _bar("median latency ratio, CNNs", "≥", 2.0, statistics.median(latency["cnn"]))
    if latency["transformer"]:
        yield _bar("median latency ratio, transformers", "≥", 2.3, statistics.median(latency["transformer"]))


def _bar(what: str, sign: Literal["≥", "≤"], bar: float, value: float) -> tuple[str, str, float, float, bool]:
    return what, sign, bar, value, value >= bar if sign == "≥" else value <= bar


_COLUMNS = [
    "model",
    "family",
    "parameters",
    "chosen",
    "size ÷",
    "latency ÷",
    "÷ fastest",
    "loss, pp",
    "interval",
    "budget",
    "metric",
]
_BARS = ["bar", "to reach", "reached", "met"]


def _row(m: dict) -> list[object]:
    low, high = m["interval_pp"]
    return [
        m["name"], m["family"], f"{m['parameters'] / 1e6:.2f} M", f"{m['recipe']} {m['format']}", f"{m['size_ratio']:.2f}",
        f"{m['latency_ratio']:.2f}", f"{m['fastest_float_ratio']:.2f}",
        f"{m['accuracy_drop_pp']:.2f}", f"{low:.2f} … {high:.2f}", m["budget_pp"],
        f"{m['metric']}, n = {m['samples']}",
    ]  # fmt: skip


def _figures(c: dict) -> str:
    parts = [
        f"size ÷{c['size_ratio']:.2f}" if c["size_ratio"] else "",
        f"latency ÷{c['latency_ratio']:.2f}" if c["latency_ratio"] else "",
        f"{c['accuracy_drop_pp']:+.2f} pp" if c["accuracy_drop_pp"] is not None else "",
    ]
    return ", ".join(p for p in parts if p) or "not made"


if __name__ == "__main__":
    main()
