"""A certificate with the right name that the site's authority did not sign, or not for this."""

import ssl
import time
from datetime import datetime, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID
from tests.attacks.who import Caller, SecureSite, enters

from edgelift_contract import routes
from edgelift_fleet.identity.authority import Authority
from edgelift_fleet.identity.metrics_authority import MetricsAuthority

pytestmark = pytest.mark.fleet


def signed_by(signer: Caller, subject: Caller, issuer: str) -> str:
    """A certificate for the subject's key, signed with the signer's."""
    keys = [load_pem_private_key(one.key, None) for one in (signer, subject)]
    assert isinstance(keys[0], ec.EllipticCurvePrivateKey) and isinstance(keys[1], ec.EllipticCurvePrivateKey)
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (subject.name, issuer)]
    made = (
        x509.CertificateBuilder()
        .subject_name(names[0])
        .issuer_name(names[1])
        .public_key(keys[1].public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=timezone.utc))
        .not_valid_after(datetime(2040, 1, 1, tzinfo=timezone.utc))
        .sign(keys[0], SHA256())
    )
    return made.public_bytes(Encoding.PEM).decode()


KINDS = (
    "another site's",
    "by itself",
    "by a namesake of the authority",
    "by another device",
    "for a server",
    "for scrapers",
)


def forged(secure: SecureSite, kind: str, thief: Caller, helper: Caller) -> None:
    """Give the thief a certificate with his name."""
    now, subject = time.time(), secure.authority
    if kind == "another site's":
        thief.certificates = Authority.make("other", now).issue_device(thief.name, thief.csr(), now).pem
    elif kind == "by itself":
        thief.certificates = signed_by(thief, thief, thief.name)
    elif kind == "by a namesake of the authority":
        shown = x509.load_pem_x509_certificate(subject.certificate.encode()).subject
        issuer = str(shown.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
        thief.certificates = signed_by(Caller("namesake"), thief, issuer)
    elif kind == "by another device":  # with its certificate behind, as if that were an authority's
        thief.certificates = signed_by(helper, thief, helper.name) + helper.certificates
    elif kind == "for scrapers":
        own = subject.issue_device(thief.name, thief.csr(), now).pem
        thief.certificates = MetricsAuthority(subject).issue(own) + MetricsAuthority(subject).certificate
    else:
        made, thief.key = subject.issue_own(thief.name, (), now)
        thief.certificates = made.pem


@pytest.mark.parametrize("kind", KINDS)
def test_it_gets_no_connection(secure: SecureSite, kind: str) -> None:
    name = f"foreign-{KINDS.index(kind)}"
    board, helper, thief = secure.board(name), secure.board(f"{name}-helper"), Caller(name)
    access = secure.broker(board)
    forged(secure, kind, thief, helper)
    with secure.unchanged(name):
        for method, path in (("GET", routes.desired_path(name)), ("POST", routes.ENROL)):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                secure.ask(thief, method, path)
        assert not enters(secure, thief, access)
    secure.told("tls-failed", thief.address)
    assert secure.poll(board).status == 304 and enters(secure, board, access)
