"""A process that holds much is not searched whole each time it has grown; what is garbage still goes."""

import subprocess
import sys

_GROWS = """
import gc
from edgelift_fleet.garbage import collect_rarely
collect_rarely()
before = gc.get_stats()[2]["collections"]
held = [[] for _ in range(400_000)]
assert gc.get_freeze_count() > 1000
assert gc.get_stats()[2]["collections"] == before, "searched whole"
"""

_LOSES = """
import gc, weakref
from edgelift_fleet.garbage import collect_rarely
class Ring:
    def __init__(self):
        self.me = self
collect_rarely()
first = weakref.ref(Ring())
for _ in range(50_000):
    Ring()
assert first() is None, "never freed"
"""


def test_growing_is_no_reason_to_search_everything() -> None:
    subprocess.run([sys.executable, "-c", _GROWS], check=True)


def test_cyclic_garbage_is_freed() -> None:
    subprocess.run([sys.executable, "-c", _LOSES], check=True)
