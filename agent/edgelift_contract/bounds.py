"""How large anything in a message may be: types with bounds that hold on both sides.

Whoever reads a message refuses what lies outside, by the field's name; whoever makes one has `fitting.fit` bring it
inside. So no number from one side can be too large for a sum, a column or a page of the other, and no text too long.
Each bound is far from what an honest machine has; where one comes from is said beside it. That no field of any message
is without is held by `tests/contract/test_bounds.py`.

Names and counts have forms of their own, in `ids`.
"""

from __future__ import annotations

import sys
from typing import Annotated

from msgspec import Meta

#: Version of a message's format.
Schema = Annotated[int, Meta(ge=0, le=1_000_000)]

#: Seconds since 1970, by whosever clock; the kernel's holds no more (`KTIME_SEC_MAX`, the year 2262).
Moment = Annotated[float, Meta(ge=0, le=9_223_372_036)]
#: Thirty years.
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
#: Thirty years and more.
Milliseconds = Annotated[float, Meta(ge=0, le=1e12)]
#: A latency: 584,000 years.
Microseconds = Annotated[float, Meta(ge=0, le=2.0**64)]
#: Of 1.
Share = Annotated[float, Meta(ge=0, le=1)]
#: Any number that is one.
Finite = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
#: A reading of a machine: bytes, degrees, watts, per cent.
Reading = Annotated[float, Meta(ge=-1e18, le=1e18)]

#: Requests in one window: a day of 12 million a second. A sum over a million windows still fits a database's integer.
LARGEST_REQUESTS = 2**40
Requests = Annotated[int, Meta(ge=0, le=LARGEST_REQUESTS)]

#: A word, as a code, a kind, a version: what columns of 64 characters hold.
Word = Annotated[str, Meta(max_length=64)]
#: A line: a board's name, a runtime with its version.
Line = Annotated[str, Meta(max_length=256)]
#: A sentence or a few.
Text = Annotated[str, Meta(max_length=2000)]
#: The longest names that exporters make of a model's tensors and settings.
LongName = Annotated[str, Meta(max_length=4096)]

#: A device's tags.
MAX_TAGS = 64
Tags = Annotated[dict[Word, Line], Meta(max_length=MAX_TAGS)]
