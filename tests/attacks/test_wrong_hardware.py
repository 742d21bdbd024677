"""What was built for other hardware, signed well by everybody."""

import msgspec
from tests.attacks.board import SAID, Board, nothing


def test_it_is_refused_by_what_was_measured_here(clocked: Board) -> None:
    clocked.withstands(
        "wrong-hardware-class", nothing, said=msgspec.structs.replace(SAID, hardware_class="jetson-ampere")
    )
