"""Python's search for cyclic garbage, made rare in a process that holds much for long.

The interpreter looks through everything that lives whenever it has grown by a quarter, and lets nobody else run
meanwhile. A server to which 5,000 boards listen holds so much that one search takes over half a second of a small
core; while a release is told to them it spent a fifth of its time so, and every answer waited.
"""

from __future__ import annotations

import gc

#: Objects that can be part of a cycle, more made than freed, before the young ones are searched (CPython's own: 700);
#: how many such searches before the middle ones; and how many of those before everything (its own: 10 and 10). At some
#: 50 objects that a held request has, everything is searched after 60,000 of them at the latest.
THRESHOLDS = (10_000, 10, 30)


def collect_rarely() -> None:
    """Take what is there now out of every later search, and search less often from now on. Of the whole process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
