"""A builder whose key was taken out signs on."""

from securesystemslib.signer import CryptoSigner
from tests.attacks.board import MANIFEST, Board
from tests.simulators.signer import Signer, new_key, public

from edgelift_contract.codec import digest


def revoke(signer: Signer) -> list[CryptoSigner]:
    """Another key in its place; the old one."""
    old, new = signer.image.signers["builder"], new_key()
    targets = signer.image.signed("targets")
    targets.revoke_key(old[0].public_key.keyid, "builder")
    targets.add_key(public(new), "builder")
    signer.image.signers["builder"] = [new]
    return old


def test_what_it_signs_counts_no_more(clocked: Board) -> None:
    old = revoke(clocked.signer)
    clocked.passes()
    new = clocked.signer.image.signers["builder"]
    clocked.signer.image.signers["builder"] = old
    clocked.says()
    assert clocked.refused(clocked.sealed()) == "not-signed"
    clocked.signer.image.signers["builder"] = new
    clocked.passes()


def test_what_runs_already_goes_on(board: Board) -> None:
    board.installed["digits"] = digest(MANIFEST)
    revoke(board.signer)
    board.says()
    board.signer.image.signed("builder").targets.clear()
    assert board.given(board.sealed()).signed == {}
