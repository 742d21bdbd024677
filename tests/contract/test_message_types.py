"""Threads that decode a type for the first time at once, which msgspec 0.22.0 does not survive, find it learned."""

import subprocess
import sys
import textwrap

#: Each round is a type of its own, as a process has but one first time for each.
RACE = """
    import sys, threading, msgspec
    sys.setswitchinterval(1e-6)
    from edgelift_contract.message_types import prepare_message_types

    def race(n):
        inner = msgspec.defstruct(f"Inner{n}", [(f"f{i}", int, 0) for i in range(8)], module="edgelift_race")
        fields = [("a", list[inner]), ("b", dict[str, inner])] + [(f"x{i}", int, 0) for i in range(10)]
        kind = msgspec.defstruct(f"Outer{n}", fields, module="edgelift_race")
        prepared = prepare_message_types()
        assert inner in prepared and kind in prepared
        together = threading.Barrier(4)

        def decode():
            together.wait()
            msgspec.json.decode(b'{"a":[{"f0":1}],"b":{"k":{"f7":3}},"x9":4}', type=kind)

        threads = [threading.Thread(target=decode) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    for n in range(300):
        race(n)
    """


def test_types_made_ready_survive_the_race() -> None:
    """Without `prepare_message_types` the process ends by SIGSEGV within these rounds, nearly always."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(RACE)], check=False)
    assert done.returncode == 0


def test_every_type_of_the_agent_can_be_made_ready() -> None:
    code = "import edgelift_agent.app; from edgelift_contract.message_types import *; print(len(prepare_message_types()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40
