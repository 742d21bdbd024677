"""The director's key is stolen: below the counter that this device has run, only what is said to go back goes."""

from tests.attacks.board import ALLOW_OLDER, PATH, Board, nothing
from tests.simulators.signer import Signer


def test_an_older_release_is_refused(clocked: Board) -> None:
    clocked.floors["digits"] = 8
    honest = clocked.honest()
    assert clocked.refused(honest) == "older-release"
    clocked.floors.clear()
    clocked.passes()


def test_the_counter_can_not_be_lied_about(board: Board) -> None:
    def lies(signer: Signer) -> None:
        found = signer.director.targets.targets[PATH]
        found.unrecognized_fields["custom"] = {**found.custom, "release_counter": 99}

    board.floors["digits"] = 7
    board.withstands("not-agreed", lies)


def test_what_it_can_do_is_to_allow_going_back_to_what_is_still_listed(board: Board) -> None:
    """The way on for who must go back is the way for a thief too; docs/threat-model.md says so."""
    board.floors["digits"] = 8
    board.says(policy=ALLOW_OLDER)
    nothing(board.signer)
    board.given(board.sealed())
