"""What was said of each fleet, a line each: who stops a long run loses nothing, and goes on with the same command."""

import json
from dataclasses import astuple
from pathlib import Path

from benchmarks.gating import waits
from benchmarks.gating.cases import KINDS, SLOWDOWNS, Found, Kind, Outcome

TESTS = ("gate", "before/after z", "canary/control z", "anytime-valid")


Key = tuple[Kind, float, str]

#: Every case that there may be, in the order in which they are shown.
ALL: list[Key] = [(k, s, t) for k in (*KINDS, *waits.KINDS) for s in SLOWDOWNS for t in TESTS]


class Kept:
    """A file of fleets; without a path nothing is kept.

    Attributes:
        found: seed → what was said, of the fleets that it has.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.found: dict[int, Found] = {}
        for line in path.read_text().splitlines() if path and path.exists() else ():
            try:
                told = json.loads(line)
                said = {key: Outcome(*told["said"][_name(key)]) for key in ALL if _name(key) in told["said"]}
            except ValueError:
                continue  # it was stopped while it wrote this one
            if len(said) != len(told["said"]):
                raise SystemExit(f"{path} is of other cases: name another file")
            self.found[told["seed"]] = said

    def add(self, seed: int, said: Found) -> None:
        """Keep one more."""
        self.found[seed] = said
        if self._path:
            told = {_name(key): astuple(outcome) for key, outcome in said.items()}
            with self._path.open("a") as file:
                file.write("\n" + json.dumps({"seed": seed, "said": told}))


def _name(key: Key) -> str:
    kind, slowdown, test = key
    return "/".join(map(str, (*astuple(kind), slowdown, test)))
