"""Is what a report claims true: every task's artifacts by their runtime alone, on fresh data, scored by other code."""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.alone import Arrays, alone, ask, shipped
from benchmarks.building.ours import target
from benchmarks.common import arguments, show, write
from benchmarks.judging.table import CASES, Case
from edgelift_builder.build import build
from edgelift_builder.report.progress import Quiet
from edgelift_builder.request import Request

#: Seed of the fresh data; sources use small ones.
SEED = 4711

#: Blocks of the fresh data: how far their figures lie apart says how sure the whole's is.
BLOCKS = 10

#: How many standard errors of the fresh data's figure may lie between it and the claim's interval; and the share of it that
#: two ways to compute one figure may differ by.
ERRORS, ROUNDING = 3.0, 2e-3

#: A relative error below this is rounding of float32, on any data.
NOTHING = 1e-4


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--only", action="append", choices=[c.name for c in CASES], help="this case; repeat for more"
    )
    parsed = parser.parse_args()
    found = list(_cases(parsed))
    rows = [
        [
            *(c[column] for column in ("case", "task", "judged", "shipped_first")),
            _interval(c),
            c["true_value"],
            _said(c),
        ]
        for c in found
    ]
    show("claimed, and true", rows, ["case", "task", "judged", "ships first", "claimed", "true", "agree"])
    for case in found:
        for other in case["artifacts"]:
            if not other["agrees"]:
                print(f"{case['case']}: {other}", file=sys.stderr)
    write(parsed.json, {"target": target(), "cases": found})
    agree = sum(c["agrees"] for c in found)
    print(f"{agree} of {len(found)} agree")
    sys.exit(0 if agree == len(found) else 1)


def _said(case: dict[str, Any]) -> str:
    return "yes" if case["agrees"] else "NO"


def _interval(case: dict[str, Any]) -> str:
    low, high = case["claimed_interval"]
    return f"{case['claimed']:.4g} ({low:.4g} … {high:.4g})"


def _cases(parsed: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for case in CASES:
        if parsed.only and case.name not in parsed.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            made = judged(case, Path(folder))
        figures = f"{_interval(made)}, true {made['true_value']:.4g}: {_said(made)}"
        print(f"{case.name:12} {made['shipped_first']:24} {figures}", file=sys.stderr)
        yield made


def judged(case: Case, folder: Path) -> dict[str, Any]:
    """Build it, open what ships, ask for fresh samples, and hold what is claimed against what is true."""
    release = folder / "release"
    build(Request(case.source, [target()], out=release), Quiet())
    inputs, right = case.fresh(case.count, SEED)
    manifests = shipped(release)
    answers = []
    for manifest in manifests:
        given = _named(manifest, inputs)
        answers.append(ask(alone(release, manifest, folder / manifest["artifact"]), given, case.axes))
    floats = answers[[m["variant"] for m in manifests].index("float32")]
    artifacts = [
        _held(case, manifest, outputs, right, inputs, floats)
        for manifest, outputs in zip(manifests, answers, strict=True)
    ]
    first = artifacts[0]
    report = json.loads((release / "report.json").read_bytes())
    return {
        "case": case.name,
        "task": case.task,
        "judged": f"{first['metric']}, {report['samples']} samples",
        "shipped_first": first["artifact"],
        "claimed": first["claimed"],
        "claimed_interval": first["claimed_interval"],
        "true_value": first["true_value"],
        "agrees": all(one["agrees"] for one in artifacts),
        "fresh": case.count,
        "artifacts": artifacts,
    }


def _named(manifest: dict[str, Any], inputs: Arrays) -> Arrays:
    """By the artifact's names: of one input there is one name, whatever it is."""
    names = [spec["name"] for spec in manifest["inputs"]]
    return dict(zip(names, inputs.values(), strict=True)) if len(names) == 1 else dict(inputs)


def _held(
    case: Case, manifest: dict[str, Any], outputs: Arrays, right: Any, inputs: Arrays, floats: Arrays
) -> dict[str, Any]:
    claim, budgets = manifest["evidence"][0], manifest.get("budgets", {})
    true, error = _true(case, outputs, right, inputs, floats)
    room = ERRORS * error + ROUNDING * abs(true) + (NOTHING if "relative" in claim["metric"] else 0)
    said = claim["low"] - room <= true <= claim["high"] + room
    lost, lost_error = _lost(case, outputs, right, inputs, floats)
    allowed = budgets.get("accuracy_drop_pp", 0) / 100 + budgets.get("loss_percent", 0) / 100 * claim["baseline"]
    kept = lost <= allowed + ERRORS * lost_error + ROUNDING * abs(true) or "relative" in claim["metric"]
    return {
        "artifact": f"{manifest['variant']} {manifest['format']}",
        "metric": claim["metric"],
        "claimed": claim["value"],
        "claimed_interval": [claim["low"], claim["high"]],
        "true_value": true,
        "true_error": error,
        "true_loss": lost,
        "true_loss_error": lost_error,
        "agrees": bool(said and kept),
    }


def _true(case: Case, outputs: Arrays, right: Any, inputs: Arrays, floats: Arrays) -> tuple[float, float]:
    """The figure on all fresh samples, and its standard error by blocks."""
    blocks = [case.true(*_part(case, part, outputs, right, inputs, floats)) for part in _parts(case)]
    return case.true(outputs, right, inputs, floats), float(np.std(blocks, ddof=1) / np.sqrt(BLOCKS))


def _lost(case: Case, outputs: Arrays, right: Any, inputs: Arrays, floats: Arrays) -> tuple[float, float]:
    """How much worse than float, on the same fresh samples, with its standard error."""
    sign = -1.0 if case.lower else 1.0

    def lost(*given: Any) -> float:
        outputs, *rest, floats = given
        return sign * (case.true(floats, *rest, floats) - case.true(outputs, *rest, floats))

    blocks = [lost(*_part(case, part, outputs, right, inputs, floats)) for part in _parts(case)]
    return lost(outputs, right, inputs, floats), float(np.std(blocks, ddof=1) / np.sqrt(BLOCKS))


def _parts(case: Case) -> list[np.ndarray]:
    return np.array_split(np.arange(case.count), BLOCKS)


def _part(case: Case, part: np.ndarray, *given: Any) -> list[Any]:
    """Some of the samples, of arrays by name, of one array, of a list, or of nothing."""
    return [_some(one, part, case.axes) for one in given]


def _some(given: Any, part: np.ndarray, axes: dict[str, int]) -> Any:
    if isinstance(given, dict):
        return {name: np.take(array, part, axis=axes.get(name, 0)) for name, array in given.items()}
    if isinstance(given, list):
        return [given[k] for k in part]
    return None if given is None else given[part]


if __name__ == "__main__":
    main()
