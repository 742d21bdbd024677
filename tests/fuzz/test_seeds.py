"""What is spoilt is good before: a parser that takes nothing withstands everything."""

from pathlib import Path

import pytest

from tests.fuzz import device, host
from tests.fuzz.parser import Parser

pytestmark = pytest.mark.fleet

#: A signed assignment is taken once: the other rows of the same table spend the nonce that it answers. A release that is
#: drawn lists no manifest of these; drawn answers are of several kinds. A board takes them in tests/attacks.
NOT_TAKEN = {"signed metadata, as it comes", "signed metadata, unpacked", "a signed role", "a stick's folder"}


TAKEN = [one for one in (*device.PARSERS, *host.PARSERS) if one.name not in NOT_TAKEN]


@pytest.mark.parametrize("parser", TAKEN, ids=lambda one: one.name)
def test_it_is_taken(parser: Parser, tmp_path: Path) -> None:
    for seed in parser.seeds():
        parser.call(seed, tmp_path)
