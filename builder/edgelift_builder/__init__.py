"""Model in, release out: measured, not assumed.

The way of a model through these modules, in the order of `build.build`:

1. `load` runs the user's code in a child process (`child`), `probe` tries the model on its example inputs.
2. `recipe` says which variants to make; each is a list of steps (`pipeline`, `convert/`, `optimise/`) whose
   schemes come from the `targets`.
3. `examine` runs every variant through its own runtime (`runtimes`) in another child: outputs on the whole
   evaluation set, scored by `evaluate` with the intervals of `intervals`; `golden` picks what the device will
   check; `latency` and `memory` measure what it costs, where this machine is of the right hardware class.
4. `gates` ships or rejects each with its figures; `package` writes the release in one step; `report` says all.

User code needs three names from here, and importing them is light: `Source`, `Data` for a model that comes as a
file, and `Meaning` for what its numbers mean.
"""

from edgelift_builder.source.given import Data, Meaning, Source

__all__ = ["Data", "Meaning", "Source"]
