"""What sequences of calls brought to light (`test_sequences`), each as the shortest one that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelift_contract.ids import LARGEST_COUNT
from tests.fleet.conftest import make_site
from tests.fleet.sequences import NAMES, Sequences

pytestmark = pytest.mark.fleet


@pytest.fixture(scope="module")
def played_on(tmp_path_factory: pytest.TempPathFactory, releases: dict[str, Path]) -> type[Sequences]:
    site = make_site(tmp_path_factory.mktemp("found") / "site", releases)
    return type("Played", (Sequences,), {"template": site, "releases": releases})


@pytest.fixture
def play(played_on: type[Sequences]) -> Iterator[Sequences]:
    """A fleet of `pi-1` and `pi-2`; at the end of the test every board must get to what it is assigned."""
    made = played_on()
    made.begin()
    yield made
    made.teardown()


@pytest.mark.parametrize("seen", [LARGEST_COUNT - 2, LARGEST_COUNT - 1, LARGEST_COUNT])
def test_one_lie_about_revisions_leaves_no_board_without_numbers(play: Sequences, seen: int) -> None:
    play.assign("pi-1", "digits@1", (0.0, 0))
    play.lie("pi-1", seen, 0, 0, "superseded", "none", "clone")
    play.live("pi-1", "committed", 40)
    play.everybody_arrives()
    assert max(play.boards[name].revision for name in NAMES) < 100


def test_many_lies_about_revisions_leave_no_board_without_numbers(play: Sequences) -> None:
    play.assign("pi-1", "digits@1", (0.0, 0))
    for _ in range(5):
        play.lie("pi-1", LARGEST_COUNT // 2 - 1, 0, 0, "superseded", "none", "new")
        play.boot("pi-1")
        play.live("pi-1", "committed", 40)
        play.lie("pi-1", play.boards["pi-1"].revision + 1, 0, 0, "superseded", "none", "new")
        play.boot("pi-1")
    play.everybody_arrives()
