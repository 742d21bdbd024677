"""Somebody holds back what is new, and goes on giving what is there."""

import pytest
from tests.attacks.board import DAY, Board
from tests.simulators.signer import Signer, moment


def test_the_same_for_a_week_is_taken_for_no_answer_and_told(online: Board) -> None:
    data = online.sealed()
    online.given(data)
    for _ in range(9):
        online.clock.pass_(DAY)
        assert online.trust.asks_anew()
        if online.way == "http":
            online.given(data)
        online.trust.look_again()
    assert online.told() == {"freshness": "not-fresh"}
    online.signer.now += 9 * DAY
    online.later(0)
    online.trust.told(online.trust.nonce)
    online.passes()


@pytest.mark.parametrize("board", ["http", "mqtt"], indirect=True)
@pytest.mark.parametrize("repository", ["image", "director"])
@pytest.mark.parametrize("role", ["timestamp", "snapshot"])
def test_what_has_ended_is_refused_by_the_time_of_who_answers(board: Board, repository: str, role: str) -> None:
    def ended(signer: Signer) -> None:
        {"image": signer.image, "director": signer.director}[repository].signed(role).expires = moment(
            signer.now - 1
        )

    board.withstands("metadata-expired", ended)
