"""All parsers under atheris, which is led by what is reached: `python -m tests.fuzz.coverage_guided -runs=N -seed=1`.

The first byte says which parser is given the others.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from pathlib import Path

import atheris

#: What is ours, and what parses in Python for us.
_LED_BY = ["edgelift_contract", "edgelift_agent", "edgelift_fleet", "edgelift", "tuf", "tomllib"]

with atheris.instrument_imports(include=_LED_BY):
    from tests.fuzz import device, host
    from tests.fuzz.parser import withstands

PARSERS = [*device.PARSERS, *host.PARSERS]


#: Address space, bytes: some 1 GiB is taken at the start. What unfolds without an end is a MemoryError, with its place.
SPACE_BYTES = 4 << 30


def main() -> None:
    """Fuzz them; the arguments are libFuzzer's own options."""
    resource.setrlimit(resource.RLIMIT_AS, (SPACE_BYTES, SPACE_BYTES))
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        for number, parser in enumerate(PARSERS):
            for one, seed in enumerate(parser.seeds()):
                (corpus / f"{number}-{one}").write_bytes(bytes([number]) + seed)

        def test(data: bytes) -> None:
            if data:
                withstands(PARSERS[data[0] % len(PARSERS)], data[1:], Path(folder))

        atheris.Setup([*sys.argv, str(corpus)], test)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
