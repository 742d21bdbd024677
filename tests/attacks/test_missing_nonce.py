"""An answer to no question: what is made for a stick, given over a network."""

from tests.attacks.board import Board


def test_without_a_nonce_it_is_refused_by_whichever_clock(online: Board) -> None:
    online.says()
    online.signer.nonce = ""
    online.signer.publish()
    assert online.refused(online.signer.bundle()) == "not-fresh"
    online.passes()
