"""The director's stolen key dates ahead: afterwards the honest one is earlier, until its root has changed."""

from tests.attacks.board import DAY, Board
from tests.simulators.signer import moment, new_key


def test_another_key_lets_the_honest_site_go_on(online: Board) -> None:
    honest = online.signer.now
    online.signer.now += 3000 * DAY
    for repo in (online.signer.image, online.signer.director):
        for role in repo.roles.values():
            role.signed.expires = moment(online.signer.now + 9 * DAY)
    online.says()
    online.given(online.sealed(root=True))
    online.signer.now = honest
    assert online.refused(online.honest()) == "metadata-older"
    online.signer.director.rotate("timestamp", [new_key()])
    online.says()
    online.given(online.sealed(root=True))
    online.passes()
