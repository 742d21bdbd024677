"""Who gets a certificate, and who doesn't."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.fleet.conftest import environment

from edgelift_agent.identity.keys import new_key, request_for
from edgelift_contract.errors import DeviceError, EdgeliftError
from edgelift_contract.identity import dump_token, parse_token
from edgelift_fleet.api.guard import read_peer
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.identity.authority import Authority
from edgelift_fleet.identity.files import authority_of, certificates_of
from edgelift_fleet.identity.identities import Identities
from edgelift_fleet.identity.issuing import LATE_S, MOST_OF_LATE, REPLACED, Peer, newest_of, revoke
from edgelift_fleet.identity.tls import ServerTls
from edgelift_fleet.messages import TokenRequest
from edgelift_fleet.site import Site, create_site
from edgelift_fleet.tables import IdentityRow

pytestmark = pytest.mark.fleet

NOW = 1_800_000_000.0


class Registrar:
    """A site's identities, with a clock that a test sets."""

    def __init__(self, site: Site, db: Database) -> None:
        self.now, self.site, self.db = NOW, site, db
        self.identities = Identities(site, db, lambda: self.now)

    def token(self, uses: int = 1, days: float = 1.0) -> str:
        made = self.identities.make_token(TokenRequest(uses, days), "https://farm:8470")
        return parse_token(made.token).secret

    def by_token(self, device: str, key: bytes, secret: str) -> Peer:
        return self.give(device, key, secret)

    def renew(self, peer: Peer, key: bytes) -> Peer:
        self.identities.known.judge(peer, renewing=True)
        return self.give(peer.device, key, peer)

    def give(self, device: str, key: bytes, by: Peer | str | None) -> Peer:
        shown = self.identities.show(by) if isinstance(by, str) else by
        made = self.identities.give(device, request_for(device, key), shown, "10.0.0.7", plain=False)
        assert made is not None
        der = x509.load_pem_x509_certificate(made.certificate.encode()).public_bytes(Encoding.DER)
        return read_peer(der)

    def rows(self, device: str) -> list[str]:
        with self.db.read() as session:
            return list(session.scalars(sa.select(IdentityRow.serial).filter_by(device=device)))

    def end(self, device: str, why: str) -> None:
        with self.db.write(SITE) as session:
            revoke(session, device, why, self.now)
        self.identities.known.look()


@pytest.fixture
def registrar(tmp_path: Path) -> Iterator[Registrar]:
    site, _ = create_site(tmp_path / "site")
    with closing(Database(site.database)) as db:
        db.migrate()
        yield Registrar(site, db)


def code(act: object) -> str:
    with pytest.raises(EdgeliftError) as caught:
        act()  # type: ignore[operator]  # each is a call without arguments
    return caught.value.code


def test_a_token_lets_as_many_in_as_it_is_for(registrar: Registrar) -> None:
    secret = registrar.token(uses=2)
    first = registrar.by_token("pi-1", new_key(), secret)
    assert first.device == "pi-1" and first.not_after == NOW + 90 * 86400
    registrar.by_token("pi-2", new_key(), secret)
    assert code(lambda: registrar.by_token("pi-3", new_key(), secret)) == "token-spent"
    (view,) = registrar.identities.tokens()
    assert (view.state, view.used, view.uses) == ("spent", 2, 2)


def test_whose_answer_was_lost_asks_again_and_is_not_counted_twice(registrar: Registrar) -> None:
    secret, key = registrar.token(), new_key()
    before = registrar.by_token("pi-1", key, secret)
    again = registrar.by_token("pi-1", key, secret)
    assert again == before  # the same, signed once more: whoever sends a request again fills no table
    assert registrar.identities.tokens()[0].used == 1


@pytest.mark.parametrize("secret", ["", "x.y", "deadbeef." + "A" * 43, "deadbeef." + "A" * 400])
def test_a_token_that_nobody_made_is_none(registrar: Registrar, secret: str) -> None:
    assert code(lambda: registrar.by_token("pi-1", new_key(), secret)) == "not-authorised"


def test_a_token_ends_with_its_time_and_when_it_is_taken_back(registrar: Registrar) -> None:
    secret = registrar.token(days=1)
    other = registrar.token()
    taken = next(one for one in registrar.identities.tokens() if other.startswith(one.id))
    registrar.identities.revoke_token(taken.id)
    assert code(lambda: registrar.by_token("pi-1", new_key(), other)) == "token-spent"
    registrar.now += 86400
    assert code(lambda: registrar.by_token("pi-1", new_key(), secret)) == "token-spent"
    assert code(lambda: registrar.identities.revoke_token("deadbeef")) == "not-found"


def test_a_device_renews_under_a_new_key_and_a_clone_of_its_card_does_not(registrar: Registrar) -> None:
    peer = registrar.by_token("pi-1", new_key(), registrar.token())
    later = registrar.renew(peer, new_key())
    assert later.serial != peer.serial
    assert (
        code(lambda: registrar.renew(peer, new_key())) == "already-enrolled"
    )  # the clone has the old certificate
    with registrar.db.read() as session:
        newest = newest_of(session, "pi-1")
    assert newest is not None and newest.serial == later.serial
    assert (newest.contested_by, newest.contested_at) == ("10.0.0.7", NOW)
    assert registrar.renew(later, new_key()).device == "pi-1"


def test_renewal_after_the_end_is_for_whoever_is_on_record(registrar: Registrar) -> None:
    peer = registrar.by_token("pi-1", new_key(), registrar.token())
    registrar.now = peer.not_after
    assert code(lambda: registrar.identities.known.judge(peer, renewing=False)) == "identity-expired"
    assert registrar.renew(peer, new_key()).not_after == registrar.now + 90 * 86400


def test_a_device_that_renews_without_end_gets_no_more_for_a_while(registrar: Registrar) -> None:
    peer = registrar.by_token("pi-1", new_key(), registrar.token())
    for _ in range(MOST_OF_LATE - 1):
        peer = registrar.renew(peer, new_key())
    csr = request_for("pi-1", new_key())
    assert registrar.identities.give("pi-1", csr, peer, "10.0.0.7", plain=False) is None
    assert len(registrar.rows("pi-1")) == MOST_OF_LATE
    registrar.identities.known.judge(peer, renewing=False)  # it goes on by what it has
    registrar.now += LATE_S
    assert registrar.renew(peer, new_key()).serial != peer.serial


def test_what_ended_long_ago_is_forgotten_and_what_may_come_back_is_not(registrar: Registrar) -> None:
    first = registrar.by_token("pi-1", new_key(), registrar.token())
    peers = [first]
    for _ in range(4):
        registrar.identities.note(peers[-1])
        registrar.now += 60 * 86400
        peers.append(registrar.renew(peers[-1], new_key()))
    # 240 days on: the first two ended on days 90 and 150. The third ended on day 210 and the newest came after the fourth.
    assert set(registrar.rows("pi-1")) == {peer.serial for peer in peers[2:]}
    again = started_again(registrar)
    assert code(lambda: again.note(first)) == "identity-expired"
    assert code(lambda: registrar.renew(first, new_key())) == "already-enrolled"
    registrar.now += (
        1000 * 86400
    )  # in a store-room: its last one was never shown, and the one before may be all that it has
    before = peers[-2]
    registrar.identities.note(before)
    last = registrar.renew(peers[-1], new_key())
    assert {before.serial, peers[-1].serial, last.serial} <= set(registrar.rows("pi-1"))


def test_an_answer_that_never_came_costs_no_device_its_way_back(registrar: Registrar) -> None:
    """Its certificate has ended; the renewal's answers are lost, again and again, and it holds but the first one."""
    held = registrar.by_token("pi-1", new_key(), registrar.token())
    registrar.identities.note(held)
    key = new_key()
    for _ in range(5):
        registrar.now += 100 * 86400
        registrar.identities.note(held)
        made = registrar.renew(held, key)
    assert registrar.renew(held, key) == made
    registrar.identities.note(made)
    assert registrar.renew(made, new_key()).device == "pi-1"


def test_what_was_taken_back_stays_on_record(registrar: Registrar) -> None:
    old = registrar.by_token("pi-1", new_key(), registrar.token())
    registrar.identities.note(old)
    registrar.end("pi-1", REPLACED)
    peer = registrar.by_token("pi-1", new_key(), registrar.token())
    for _ in range(3):
        registrar.identities.note(peer)
        registrar.now += 20 * 86400
        peer = registrar.renew(peer, new_key())
    assert old.serial in registrar.rows("pi-1")
    assert code(lambda: started_again(registrar).known.judge(old, renewing=False)) == "identity-revoked"
    for _ in range(3):
        registrar.identities.note(peer)
        registrar.now += 60 * 86400
        peer = registrar.renew(peer, new_key())
    assert old.serial in registrar.rows("pi-1")


def renewed_by_a_clock_that_is_ahead(registrar: Registrar, peer: Peer) -> Peer:
    """A year ahead for a while: what has not ended is forgotten as if it had."""
    for _ in range(3):
        registrar.identities.note(peer)
        registrar.now += 3600
        peer = registrar.renew(peer, new_key())
    registrar.identities.note(peer)
    registrar.now += 365 * 86400
    peer = registrar.renew(peer, new_key())
    registrar.identities.note(peer)
    registrar.now -= 365 * 86400
    return peer


def test_a_clone_of_what_was_forgotten_by_a_clock_ahead_takes_nobody_s_place(registrar: Registrar) -> None:
    first = registrar.by_token("pi-1", new_key(), registrar.token())
    peer = renewed_by_a_clock_that_is_ahead(registrar, first)
    assert first.serial not in registrar.rows("pi-1")
    again = registrar.identities = started_again(registrar)
    again.note(first)
    assert code(lambda: registrar.renew(first, new_key())) == "already-enrolled"
    later = registrar.renew(peer, new_key())  # the board itself gets on; what was made ahead still ends last
    assert later.not_after < peer.not_after
    again.note(later)
    assert registrar.renew(later, new_key()).device == "pi-1"


def test_what_was_taken_back_is_so_after_a_clock_ahead(registrar: Registrar) -> None:
    superseded = registrar.by_token("pi-1", new_key(), registrar.token())
    last = renewed_by_a_clock_that_is_ahead(registrar, superseded)
    assert superseded.serial not in registrar.rows("pi-1")
    old = registrar.by_token("pi-2", new_key(), registrar.token())
    registrar.identities.note(old)
    for device in ("pi-1", "pi-2"):
        registrar.end(device, REPLACED)
    renewed_by_a_clock_that_is_ahead(registrar, registrar.by_token("pi-2", new_key(), registrar.token()))
    again = started_again(registrar)
    for peer in (last, old):
        assert code(lambda peer=peer: again.known.judge(peer, renewing=True)) == "identity-revoked"
    read = {f"{one.serial_number:040x}" for one in x509.load_pem_x509_crl(registrar.identities.revocations())}
    assert {last.serial, old.serial} <= read
    assert code(lambda: again.note(superseded)) == "identity-revoked"
    registrar.by_token("pi-1", new_key(), registrar.token())  # another board, in its place
    assert code(lambda: again.note(superseded)) == "identity-revoked"


def test_what_a_site_that_was_restored_does_not_know_is_the_newest(registrar: Registrar) -> None:
    first = registrar.by_token("pi-1", new_key(), registrar.token())
    registrar.identities.note(first)
    registrar.now += 60 * 86400
    second = registrar.renew(first, new_key())
    with registrar.db.write(SITE) as session:  # as the backup from before
        session.execute(sa.delete(IdentityRow).filter_by(serial=second.serial))
        session.execute(sa.update(IdentityRow).values(succeeded_by=""))
    started_again(registrar).note(second)
    assert registrar.renew(second, new_key()).device == "pi-1"


def started_again(registrar: Registrar) -> Identities:
    """As a server that was started again."""
    made = Identities(registrar.site, registrar.db, lambda: registrar.now)
    made.known.look()
    return made


def test_another_key_gets_in_only_when_somebody_said_so(registrar: Registrar) -> None:
    registrar.by_token("pi-1", new_key(), registrar.token())
    assert code(lambda: registrar.by_token("pi-1", new_key(), registrar.token())) == "already-enrolled"
    registrar.end("pi-1", REPLACED)
    peer = registrar.by_token("pi-1", new_key(), registrar.token())
    registrar.identities.known.judge(peer, renewing=False)


@pytest.mark.parametrize("why", ["removed", REPLACED])
def test_what_was_taken_back_opens_nothing(registrar: Registrar, why: str) -> None:
    key, secret = new_key(), registrar.token(uses=9)
    peer = registrar.by_token("pi-1", key, secret)
    registrar.end("pi-1", why)
    assert code(lambda: registrar.identities.known.judge(peer, renewing=True)) == "identity-revoked"
    assert code(lambda: registrar.give("pi-1", new_key(), peer)) == "identity-revoked"
    assert code(lambda: registrar.by_token("pi-1", key, secret)) == "identity-revoked"


def test_the_list_of_what_was_taken_back_names_it(registrar: Registrar) -> None:
    peer = registrar.by_token("pi-1", new_key(), registrar.token())
    other = registrar.by_token("pi-2", new_key(), registrar.token())
    registrar.end("pi-1", "removed")
    read = x509.load_pem_x509_crl(registrar.identities.revocations())
    assert [f"{one.serial_number:040x}" for one in read] == [peer.serial]
    shut_out = x509.load_pem_x509_crl(registrar.identities.revocations(["pi-2"]))
    assert {f"{one.serial_number:040x}" for one in shut_out} == {peer.serial, other.serial}


@pytest.mark.parametrize("now", [-1.0, 0.0, 86400.0, 1_500_000_000.0, 4_300_000_000.0, 1e12])
def test_no_certificate_is_made_by_a_clock_that_cannot_be_right(registrar: Registrar, now: float) -> None:
    authority, key, secret = registrar.identities.authority, new_key(), registrar.token(uses=9)
    peer = registrar.by_token("pi-1", key, registrar.token())
    registrar.end("pi-1", "removed")
    registrar.now = now
    for make in (
        lambda: Authority.make("farm", now),
        lambda: authority.issue_own("edgelift", ["localhost"], now),
        lambda: authority.issue_device("pi-2", request_for("pi-2", key), now),
        lambda: ServerTls(registrar.identities, registrar.site.run, ["localhost"], lambda: now),
    ):
        with pytest.raises(DeviceError, match="clock says") as refused:
            make()
        assert refused.value.code == "clock-wrong" and "Set the clock" in refused.value.hint
    asks = registrar.identities.give
    if now < NOW:  # else the token has ended by then
        assert code(
            lambda: asks("pi-2", request_for("pi-2", key), registrar.identities.show(secret), "", plain=False)
        ) == ("clock-wrong")
    # What was taken back is listed all the same; by a clock that is ahead it has ended by itself.
    (read,) = [x509.load_pem_x509_crl(registrar.identities.revocations())]
    assert [f"{one.serial_number:040x}" for one in read] == ([peer.serial] if now < NOW else [])


def test_the_authority_is_made_once_and_kept_for_its_owner(tmp_path: Path) -> None:
    site, _ = create_site(tmp_path / "site")
    made = authority_of(site)
    secrets = site.folder / "secrets"
    assert {(secrets / name).stat().st_mode & 0o777 for name in ("authority", "authority-key")} == {0o600}
    assert authority_of(site).pin == made.pin and certificates_of(site) == [made.certificate]
    (secrets / "authority").unlink()  # as a power cut between the two leaves it
    assert authority_of(site).pin != made.pin
    (secrets / "authority-key").write_bytes(Authority.make("other", time.time()).key)
    assert code(lambda: authority_of(site)) == "bad-config"
    (secrets / "authority-key").write_bytes(b"x")
    assert code(lambda: authority_of(site)) == "bad-config"


def test_a_site_whose_authority_was_lost_makes_no_other_behind_its_devices_backs(registrar: Registrar) -> None:
    registrar.by_token("pi-1", new_key(), registrar.token())
    secrets = registrar.site.folder / "secrets"
    kept = (secrets / "authority").read_bytes()
    (secrets / "authority").unlink()
    again = Identities(registrar.site, registrar.db)
    assert code(lambda: again.authority) == "bad-config" and not (secrets / "authority").exists()
    (secrets / "authority").write_bytes(kept)
    assert again.authority.pin == registrar.identities.authority.pin


def test_odd_tokens_are_told_apart(registrar: Registrar) -> None:
    made = registrar.identities.make_token(TokenRequest(), "https://farm:8470").token
    assert parse_token(f" {made}\n") == parse_token(dump_token(parse_token(made)))
    for text, expected in (
        ("", "malformed"), ("edgelift1.", "malformed"), (made[:-9], "malformed"), (made + "AAAA", "malformed"),
        ("edgelift1." + "A" * 5000, "too-large"), (made.replace("edgelift1", "edgelift2"), "malformed"),
        ("edgelift1.ä", "malformed"),
    ):  # fmt: skip
        assert code(lambda text=text: parse_token(text)) == expected, text[:40]


def test_no_site_is_made_by_such_a_clock(tmp_path: Path) -> None:
    program = "import time; time.time = lambda: 86400.0; from edgelift.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "init", str(tmp_path / "site")],
        capture_output=True, text=True, env={**environment(), "EDGELIFT_PASSPHRASE": "a battery, and a staple"},
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "clock says 1970-01-02" in done.stderr and "(clock-wrong)" in done.stderr
    assert not (tmp_path / "site").exists()
