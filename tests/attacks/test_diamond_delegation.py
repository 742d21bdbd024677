"""Two roles delegate to a third of one name, each by another key: what is good for one is not for the other."""

from tests.attacks.board import MANIFEST, SAID, Board
from tests.simulators.signer import Signer, new_key, public, target

from edgelift_contract.codec import digest
from edgelift_contract.signed import target_path

EVERY = ["a/*/*/*/*"]


def diamond(signer: Signer) -> None:
    image = signer.image
    image.signed("targets").delegations.roles["builder"].terminating = False
    image.delegate("targets", "other", EVERY, terminating=False)
    image.signed("builder").targets.clear()
    theirs = new_key()
    for parent, key in (("builder", public(image.signers["builder"][0])), ("other", public(theirs))):
        image.delegate(parent, "shared", EVERY, terminating=False)
        delegations = image.signed(parent).delegations
        delegations.roles["shared"].keyids = [key.keyid]
        delegations.keys = {key.keyid: key}
    image.signers["shared"] = [theirs]
    path = target_path(digest(MANIFEST), SAID)
    image.signed("shared").targets[path] = target(path, MANIFEST)


def test_it_is_refused(board: Board) -> None:
    board.withstands("not-signed", diamond)
