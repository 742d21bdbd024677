"""What stands beside a path lies about what the path says: delegations bind paths alone."""

from typing import Any

import pytest
from tests.attacks.board import PATH, Board
from tests.simulators.signer import Signer

LIES: list[tuple[dict[str, Any], str]] = [
    ({"hardware_class": "jetson-ampere"}, "not-agreed"),
    ({"model": "cats"}, "not-agreed"),
    ({"runtime": "litert"}, "not-agreed"),
    ({"version": "9"}, "not-agreed"),
    ({"release_counter": 99}, "not-agreed"),
    ({"release_counter": "many"}, "malformed"),
    ({"hardware_class": "../../etc"}, "malformed"),
]


@pytest.mark.parametrize(("lie", "code"), LIES, ids=str)
def test_of_one_repository_it_is_refused(board: Board, lie: dict[str, Any], code: str) -> None:
    def lies(signer: Signer) -> None:
        found = signer.image.signed("builder").targets[PATH]
        found.unrecognized_fields["custom"] = {**found.custom, **lie}

    board.withstands(code, lies)


@pytest.mark.parametrize(
    "lie", [{"hardware_class": "jetson-ampere"}, {"model": "cats"}, {"runtime": "litert"}], ids=str
)
def test_of_both_it_is_refused_for_its_path(board: Board, lie: dict[str, Any]) -> None:
    def lies(signer: Signer) -> None:
        for targets in (signer.image.signed("builder").targets, signer.director.targets.targets):
            targets[PATH].unrecognized_fields["custom"] = {**targets[PATH].custom, **lie}

    board.withstands("not-agreed", lies)
