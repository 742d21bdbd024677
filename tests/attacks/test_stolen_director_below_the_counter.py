"""The director's key is stolen: below the counter that this device has run goes only what it ran just before, or what the
builders let devices go back to.
"""

from tests.attacks.board import ALLOW_OLDER, MANIFEST, PATH, SAID, Board, nothing
from tests.simulators.signer import Signer

from edgelift_contract.codec import digest

ARTIFACT = digest(MANIFEST)


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


def test_an_order_to_go_back_does_not_do(clocked: Board) -> None:
    """Neither by the assignment's word nor by the director's own target, which may say what it likes beside."""
    clocked.floors["digits"] = 8
    clocked.says(policy=ALLOW_OLDER)
    nothing(clocked.signer)
    assert clocked.refused(clocked.sealed()) == "older-release"
    found = clocked.signer.director.targets.targets[PATH]
    found.unrecognized_fields["custom"] = {**found.custom, "allow_older": True}
    assert clocked.refused(clocked.sealed()) == "older-release"
    clocked.floors.clear()
    clocked.passes()


def test_nor_by_another_slot_that_ran_it_just_before(board: Board) -> None:
    board.floors["digits"], board.before["other"] = 8, {ARTIFACT}
    board.says(policy=ALLOW_OLDER)
    assert board.refused(board.sealed()) == "older-release"
    board.floors.clear()
    board.passes()


def test_what_it_can_do_is_to_order_back_what_the_slot_ran_just_before(board: Board) -> None:
    """The way on for a fleet that must go back is the way for a thief too; docs/threat-model.md says so."""
    board.floors["digits"], board.before["digits"] = 8, {ARTIFACT}
    assert board.refused(board.honest()) == "older-release"
    board.says(policy=ALLOW_OLDER)
    board.given(board.sealed())


def test_what_the_builders_allow_needs_the_order_too(board: Board) -> None:
    board.floors["digits"] = 8
    board.says()
    board.signer.list_artifact(MANIFEST, SAID, allow_older=True)
    assert board.refused(board.sealed()) == "older-release"
    board.says(policy=ALLOW_OLDER)
    board.signer.list_artifact(MANIFEST, SAID, allow_older=True)
    (signed,) = board.given(board.sealed()).signed.values()
    assert signed.allow_older


def test_a_word_that_is_none_allows_nothing(board: Board) -> None:
    board.floors["digits"] = 8
    for word in ("true", 1, [True], {"allow_older": True}):
        board.says(policy=ALLOW_OLDER)
        board.signer.list_artifact(MANIFEST, SAID, allow_older=word)
        assert board.refused(board.sealed()) == "malformed"
    board.floors.clear()
    board.passes()
