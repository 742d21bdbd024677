"""An answer to a question that was asked before, or by somebody else."""

from tests.attacks.board import Board


def test_an_answer_to_an_earlier_question_is_refused(online: Board) -> None:
    nonce = online.trust.nonce
    online.passes()
    online.passes()
    online.says()
    online.signer.nonce = nonce
    online.signer.publish()
    assert online.refused(online.signer.bundle()) == "not-fresh"
    online.passes()


def test_one_to_somebody_elses_is(online: Board) -> None:
    online.says()
    online.signer.nonce = "0" * 32
    online.signer.publish()
    assert online.refused(online.signer.bundle()) == "not-fresh"
    online.passes()


def test_the_last_one_counts_until_the_host_has_the_new_one_and_not_longer(online: Board) -> None:
    nonce = online.trust.nonce
    online.passes()
    online.trust.told(online.trust.nonce)
    online.says()
    online.signer.nonce = nonce
    online.signer.publish()
    assert online.refused(online.signer.bundle()) == "not-fresh"
    online.passes()
