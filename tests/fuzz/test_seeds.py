"""What is spoilt is good before: a parser that takes nothing withstands everything."""

from pathlib import Path

import pytest

from tests.fuzz import device, host
from tests.fuzz.parser import Parser

pytestmark = pytest.mark.fleet

#: A signed assignment is taken once: the other rows of the same table spend the nonce that it answers. A release that is
#: drawn lists no manifest of these; drawn answers are of several kinds.
NOT_TAKEN = {"signed metadata, as it comes", "signed metadata, unpacked", "a signed role", "a stick's folder"}


@pytest.mark.parametrize("parser", [*device.PARSERS, *host.PARSERS], ids=lambda one: one.name)
def test_it_is_taken(parser: Parser, tmp_path: Path) -> None:
    if parser.name in NOT_TAKEN:
        pytest.skip("see test_attacks of the trust: a board takes it there")
    for seed in parser.seeds():
        parser.call(seed, tmp_path)
