"""Another site's keys: its metadata, and its roots in the place of those that are trusted."""

from tests.attacks.board import DEVICE, Board
from tests.simulators.signer import Signer


def test_what_it_signs_is_refused(clocked: Board) -> None:
    honest, clocked.signer = clocked.signer, Signer(DEVICE)
    clocked.signer.roots()
    for _ in range(5):
        clocked.signer.publish()
    assert clocked.refused(clocked.honest()) == "not-signed"
    clocked.signer = honest
    clocked.passes()


def test_its_roots_are_not_learnt_in_their_place(board: Board) -> None:
    before = board.trusted()
    board.trust.learn({name: data.decode() for name, data in Signer(DEVICE).roots().items()})
    assert board.trusted() == before
    board.trust = board.started()
    board.passes()
