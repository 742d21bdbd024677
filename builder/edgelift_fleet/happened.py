"""What happened in this process since it began, counted where it happens, for the metrics.

The process's own, as `suspicions` are: what counts here is in several rooms. Of several servers of a site each counts
what came to it.
"""

from __future__ import annotations

from edgelift_contract.errors import CODES
from edgelift_contract.tally import Tally

#: `(side, code)` → requests that were refused; the side is `devices` or `operators`.
REFUSED = Tally()
#: `(outcome, code)` → updates whose end a device reported.
ENDED = Tally()

#: A device may write any word for a code: what is none of ours counts under this.
OTHER = "other"
_UNDER_WAY = frozenset({"none", "in-progress"})


def is_end(outcome: str, before: str) -> bool:
    """Does a report with this outcome tell of an end that the report before it, with that outcome, did not? Pure."""
    return outcome not in _UNDER_WAY and outcome != before


def known_code(code: str) -> str:
    """A code as a label: one of a bounded set, empty for none. Pure."""
    return code if not code or code in CODES else OTHER
