"""Everything that was signed has ended while a device serves: it goes on, and takes nothing new by it."""

from tests.attacks.board import DAY, Board, nothing
from tests.simulators.signer import Signer, moment


def test_what_serves_is_taken_again_years_later(clocked: Board) -> None:
    data = clocked.honest()
    first = clocked.given(data)
    clocked.clock.pass_(3000 * DAY)
    clocked.trust = clocked.started()
    assert clocked.given(data).assignment == first.assignment


def test_what_is_new_and_has_ended_is_refused(clocked: Board) -> None:
    def ended(signer: Signer) -> None:
        for repo in (signer.image, signer.director):
            for role in ("targets", "snapshot", "timestamp"):
                repo.signed(role).expires = moment(signer.now - DAY)

    clocked.withstands("metadata-expired", ended)


def test_an_ended_builder_is_refused(board: Board) -> None:
    def ended(signer: Signer) -> None:
        signer.image.signed("builder").expires = moment(signer.now - 1)

    board.withstands("metadata-expired", ended)
    nothing(board.signer)
