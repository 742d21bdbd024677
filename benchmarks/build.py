"""What the builder makes of eleven models: size, speed and loss against float, and against the plain quantisers."""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.building import ours, peers, tables
from benchmarks.building.bars import Bar, bars
from benchmarks.building.zoo import ZOO, Entry
from benchmarks.common import arguments, write
from edgelift_contract.hardware import this_machine

#: How long a model's artifacts and its plain recipes are timed beside each other, seconds; with `--quick`.
TIMED_S, QUICK_S = 30.0, 8.0

#: With less of the run's minutes left for a model than this, seconds, it is done as with `--quick`.
WHOLE_S = 150.0


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--only", action="append", choices=[e.name for e in ZOO], help="this model; repeat for more"
    )
    parser.add_argument(
        "--quick", action="store_true", help="the default recipe's variants alone, and timed shortly"
    )
    parser.add_argument("--minutes", type=float, default=35.0, help="how long the whole run may take, about; 35")
    parsed = parser.parse_args()
    models = list(_models(parsed))
    host = this_machine()
    tables.chosen(models)
    tables.not_chosen(models)
    tables.peers(models)
    found = [*bars(models, host), *_whole(parsed, models)]
    tables.bars(found, host)
    figures = [{"what": b.what, "bar": f"{b.sign} {b.bar:g}", "value": b.value, "met": b.met} for b in found]
    write(parsed.json, {"target": ours.target(), "quick": parsed.quick, "models": models, "bars": figures})
    sys.exit(0 if all(b.met for b in found) else 1)


def _whole(parsed: argparse.Namespace, models: list[dict]) -> list[Bar]:
    return [Bar("models that the run did not reach", "≤", 0, len(parsed.only or ZOO) - len(models))]


def _models(parsed: argparse.Namespace) -> Iterator[dict]:
    """Each model, in the zoo's order; when time is short without extra variants, and none that time has no room for."""
    wanted = [entry for entry in ZOO if not parsed.only or entry.name in parsed.only]
    end = time.monotonic() + 60 * parsed.minutes
    for done, entry in enumerate(wanted):
        left = end - time.monotonic()
        if left <= 0:
            print(f"not reached in {parsed.minutes:g} minutes: {_names(wanted[done:])}", file=sys.stderr)
            return
        with tempfile.TemporaryDirectory() as folder:
            quick = parsed.quick or left / (len(wanted) - done) < WHOLE_S
            model = _measured(entry, Path(folder), quick=quick)
        value, low, high = model["peer_latency_ratio"]
        print(
            f"{entry.name:12} {model['recipe']:20} {model['format']:6} {tables.figures(model)}; "
            f"{model['peer']} {value:.3f} ({low:.3f} … {high:.3f}) of its time ({model['seconds']:.0f} s)",
            file=sys.stderr,
        )
        yield model


def _names(entries: list[Entry]) -> str:
    return ", ".join(entry.name for entry in entries)


def _measured(entry: Entry, folder: Path, *, quick: bool) -> dict:
    started = time.monotonic()
    built = ours.built(entry, folder, extra=not quick)
    model = ours.described(entry, built.report)
    first = ours.first(built.report, ours.default_names(entry))
    model |= peers.compare(built, first, folder, QUICK_S if quick else TIMED_S, entry.budget_pp)
    return model | {"quick": quick, "seconds": round(time.monotonic() - started, 1)}


if __name__ == "__main__":
    main()
