"""Ours beside the plain recipes: made of the same float, judged by the same data, timed in the same rounds."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.building import beside, plain
from benchmarks.building.answered import Answered, Judge
from benchmarks.building.opened import laid_out, size_bytes
from edgelift_builder.build import Built
from edgelift_builder.child import Child, OnFailure
from edgelift_builder.facts import CALIBRATION
from edgelift_builder.judge.measure import Numbers
from edgelift_builder.measure.runtimes import RUNTIMES, ModelSpec
from edgelift_builder.report.report import CandidateReport
from edgelift_contract.errors import EdgeliftError
from edgelift_contract.manifest import SessionOptions

#: Longest that one quantiser may take, seconds.
PATIENCE_S = 300.0

OURS, DEFAULT = "ours", "ours by default"


def compare(built: Built, default: CandidateReport, folder: Path, seconds: float, points: float) -> dict:
    """What the plain recipes bring, and how ours stands to the best of them.

    Args:
        built: the release, with its data sets in `folder/data`.
        default: what ships first of the default recipe's variants; the release's first may be another.
        folder: scratch space.
        seconds: how long to time all of them.
        points: what the recipe lets a variant lose of a share.
    """
    candidates, data_folder = built.report.candidates, folder / "data"
    forms = set(plain.FORMATS.values())
    wanted = {
        f"float {c.format}": c for c in candidates if c.variant == "float32" and c.artifact and c.format in forms
    }
    wanted[OURS] = next(c for c in candidates if c.rank == 0)
    if default is not wanted[OURS]:
        wanted[DEFAULT] = default
    specs = {
        name: laid_out(built.folder, c.artifact, built.facts.axes, folder / name) for name, c in wanted.items()
    }
    not_made: dict[str, str] = {}
    for name, form in plain.FORMATS.items():
        float_one = specs.get(f"float {form}")
        made = (
            _made(name, float_one, data_folder / CALIBRATION, folder / name) if float_one else f"no float {form}"
        )
        _sort(name, made, specs, not_made)
    judge, answered = Judge(built, data_folder, points), dict[str, Answered]()
    for name, spec in specs.items():
        is_float = name.startswith("float")
        _sort(name, judge.floats() if is_float else judge.answered(name, spec, folder), answered, not_made)
    times = beside.sittings([specs[name] for name in answered], data_folder, folder, seconds)
    return _compared(answered, times, specs) | {"peers_not_made": not_made}


def _sort(name: str, found: object, good: dict, bad: dict[str, str]) -> None:
    if isinstance(found, str):
        bad[name] = found
    else:
        good[name] = found


def _made(name: str, float_one: ModelSpec, calibration: Path, folder: Path) -> ModelSpec | str:
    folder.mkdir()
    arguments = (name, str(float_one.path), str(calibration), float_one.axes, str(folder))
    with Child(folder / "log") as child:
        try:
            on_failure = OnFailure(name)
            path = child.call(plain.make, *arguments, on_failure=on_failure, timeout_s=PATIENCE_S)
        except EdgeliftError as error:
            return error.message
    runtime = RUNTIMES[plain.FORMATS[name]]
    return replace(float_one, path=Path(path), options=SessionOptions(threads=1), runtime=runtime)


def _compared(answered: dict[str, Answered], times: list[Numbers], specs: dict[str, ModelSpec]) -> dict:
    columns = {name: column for column, name in enumerate(answered)}
    best = _best(answered, times, columns)
    told = [sitting[1::2] for sitting in times]
    default = DEFAULT if DEFAULT in answered else OURS
    mine, by_default, theirs = (answered[name].judgement for name in (OURS, default, best))
    return {
        "peer": best,
        "peer_latency_ratio": beside.ratio(told, columns[best], columns[OURS]),
        "peer_loss": mine.loss - theirs.loss,
        "peer_rounds": sum(len(sitting) for sitting in told),
        "default_latency_ratio": beside.ratio(told, columns[best], columns[default]),
        "default_loss": by_default.loss - theirs.loss,
        "default_loss_interval": [by_default.loss_low, by_default.loss_high],
        "cosine": answered[OURS].cosine,
        "peers": [
            {
                "name": name, "loss": a.judgement.loss, "interval": [a.judgement.loss_low, a.judgement.loss_high],
                "verdict": a.verdict, "cosine": a.cosine, "size_bytes": size_bytes(specs[name]),
                "p50_us": float(np.median(np.concatenate(times)[:, columns[name]])),
                "latency_ratio": beside.ratio(told, columns[name], columns[OURS]),
            }
            for name, a in answered.items()
        ],
    }  # fmt: skip


def _best(answered: dict[str, Answered], times: list[Numbers], columns: dict[str, int]) -> str:
    """The fastest of what keeps the budget as ours has to, float among them. Found by every second round and held to ours
    by the others: the least of several noisy medians is lower than it should be.
    """
    fits = [
        n for n, a in answered.items() if n.startswith("float") or (a.verdict == "holds" and n in plain.FORMATS)
    ]
    rounds = np.concatenate([sitting[::2] for sitting in times])
    return min(fits, key=lambda name: float(np.median(rounds[:, columns[name]])))
