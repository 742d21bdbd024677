"""A clock that is set far ahead: what answers a question is taken by its own time, a stick is too old."""

from pathlib import Path

from tests.attacks.board import DAY, Board
from tests.simulators.file_server import FileServer


def test_a_stick_is_refused_and_the_network_goes_on(folder: Path, server: FileServer) -> None:
    board = Board(folder, server, "stick")
    board.clock.shows = 2_147_483_647.0
    assert board.refused(board.honest()) == "metadata-expired"
    board.way = "http"
    board.passes()
    board.way, board.clock.shows = "stick", board.signer.now
    board.passes()


def test_a_stick_that_lay_in_a_drawer_is_refused(folder: Path, server: FileServer) -> None:
    board = Board(folder, server, "stick")
    data = board.honest()
    board.later(8)
    assert board.refused(data) == "metadata-expired"
    board.passes()


def test_a_clock_in_the_past_makes_no_older_one_good(folder: Path, server: FileServer) -> None:
    board = Board(folder, server, "stick")
    old = board.honest()
    board.later(20)
    board.passes()
    board.clock.shows = 0.0
    assert board.refused(old) in ("metadata-older", "metadata-expired")
    board.clock.pass_(DAY)
    board.passes()
