"""A device withstands whatever a host, a stick, a client or its own configuration feeds: errors of ours alone, in bounds."""

from pathlib import Path

import pytest
from hypothesis import Phase, given, settings

from tests.fuzz.device import PARSERS
from tests.fuzz.mutating import spoilt
from tests.fuzz.parser import Parser, withstands


@pytest.mark.parametrize("parser", PARSERS, ids=lambda one: one.name)
def test_it_withstands_what_is_spoilt(parser: Parser, tmp_path: Path) -> None:
    @settings(max_examples=parser.examples, derandomize=True, database=None, phases=[Phase.generate])
    @given(spoilt(parser.seeds()))
    def holds(data: bytes) -> None:
        withstands(parser, data, tmp_path)

    holds()
