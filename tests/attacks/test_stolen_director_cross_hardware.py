"""The director's key is stolen: what is listed for other hardware is not to be had by it."""

import msgspec
import pytest
from tests.attacks.board import MANIFEST, PATH, SAID, Board
from tests.simulators.signer import Signer


@pytest.mark.parametrize("said", ["jetson-ampere", "arm64-i8mm"])
def test_it_can_not_say_that_other_hardwares_release_is_for_this_one(board: Board, said: str) -> None:
    other = msgspec.structs.replace(SAID, hardware_class=said)

    def lies(signer: Signer) -> None:
        signer.image.signed("builder").targets.clear()
        signer.list_artifact(MANIFEST, other)  # the director goes on saying SAID of it

    board.withstands("not-genuine", lies)


def test_nor_in_what_it_says_beside_the_path(board: Board) -> None:
    def lies(signer: Signer) -> None:
        found = signer.director.targets.targets[PATH]
        found.unrecognized_fields["custom"] = {**found.custom, "hardware_class": "jetson-ampere"}

    board.withstands("not-agreed", lies)
