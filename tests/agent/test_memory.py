"""What the collector is spared, and when."""

import os
import subprocess
import sys
from pathlib import Path

from edgelift_agent.artifact.loading import Loader
from edgelift_agent.artifact.store import Store
from edgelift_agent.system.disk import Disk
from edgelift_agent.testing.artifact import toy_artifact
from edgelift_agent.testing.runtime import ToyModelFile, ToyRuntime
from edgelift_contract.manifest import parse_manifest

SETTLED = """
import gc
from edgelift_agent.system.memory import return_memory, settle
held = [[n] for n in range(100_000)]
settle()
walked = len(gc.get_objects())
return_memory()
print(walked, gc.get_freeze_count() > 100_000)
"""


GROWN = """
from edgelift_agent.system.memory import resident_bytes
before = resident_bytes()
held = bytearray(b"x" * 30_000_000)
print(resident_bytes() - before, len(held))
"""


HIGHEST = """
from edgelift_agent.system.memory import peak_resident_bytes
before = peak_resident_bytes()
held = bytearray(b"x" * 100_000_000)
print(before, peak_resident_bytes() - before, len(held))
"""


def printed(code: str) -> list[str]:
    """The words that a process of its own prints: in this one, other tests' threads and memory come and go."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_what_is_settled_is_not_walked_again() -> None:
    walked, still_frozen = printed(SETTLED)
    assert int(walked) < 5000 and still_frozen == "True"


def test_a_runtimes_first_load_is_told_and_no_other(tmp_path: Path) -> None:
    wanted, blobs = toy_artifact("1", ToyModelFile())
    store = Store(tmp_path, Disk())
    store.make_folders()
    for digest, body in blobs.items():
        store.blob(digest).write_bytes(body)
    store.stage(wanted.artifact, parse_manifest(blobs[wanted.artifact]))
    loader, told = Loader(store, {ToyRuntime.name: ToyRuntime()}, "x86-64-avx2"), []
    loader.on_first_load = lambda: told.append(True)
    loader.load(wanted.artifact)
    loader.load(wanted.artifact)
    assert len(told) == 1


def test_resident_memory_grows_with_what_is_held() -> None:
    grown, _ = printed(GROWN)
    assert 20_000_000 < int(grown) < 60_000_000


def test_the_peak_is_of_the_program_itself_and_not_of_who_started_it() -> None:
    held = bytearray(b"x" * 300_000_000)  # what a child's getrusage(2) would begin with
    before, grown, _ = map(int, printed(HIGHEST))
    assert before < len(held)
    assert grown >= 100_000_000
