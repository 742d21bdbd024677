"""A control plane and its commands withstand whatever devices, operators, publishers and files feed: as a device does."""

from pathlib import Path

import pytest
from hypothesis import Phase, given, settings

from tests.fuzz.host import PARSERS
from tests.fuzz.mutating import spoilt
from tests.fuzz.parser import Parser, withstands

pytestmark = pytest.mark.fleet


@pytest.mark.parametrize("parser", PARSERS, ids=lambda one: one.name)
def test_it_withstands_what_is_spoilt(parser: Parser, tmp_path: Path) -> None:
    @settings(max_examples=parser.examples, derandomize=True, database=None, phases=[Phase.generate])
    @given(spoilt(parser.seeds()))
    def holds(data: bytes) -> None:
        withstands(parser, data, tmp_path)

    holds()
