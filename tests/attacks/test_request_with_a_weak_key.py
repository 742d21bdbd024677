"""A request for a certificate has a key of another kind, or one that it does not prove to hold."""

import base64
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from tests.attacks.csr import Key, request
from tests.attacks.who import Caller, SecureSite

pytestmark = pytest.mark.fleet


def not_its_own(name: str) -> str:
    """Somebody else's public key, and a signature by the thief's."""
    theirs, own = (
        x509.load_pem_x509_csr(request(Caller(name).key, [name]).encode()).public_bytes(Encoding.DER)
        for _ in range(2)
    )
    made = theirs[:-70] + own[-70:]
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{wrapped(made)}-----END CERTIFICATE REQUEST-----\n"


def wrapped(data: bytes) -> str:
    return base64.encodebytes(data).decode()


KEYS: dict[str, Callable[[], Key]] = {
    "rsa-1024": lambda: rsa.generate_private_key(65537, 1024), "rsa-2048": lambda: rsa.generate_private_key(65537, 2048),
    "p-192": lambda: ec.generate_private_key(ec.SECP192R1()), "p-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "k-256": lambda: ec.generate_private_key(ec.SECP256K1()), "dsa": lambda: dsa.generate_private_key(1024),
    "ed448": ed448.Ed448PrivateKey.generate,
}  # fmt: skip


@pytest.mark.parametrize("kind", [*KEYS, "not its own"])
def test_it_gets_none(secure: SecureSite, kind: str) -> None:
    caller, token = Caller(f"weak-{kind.replace(' ', '-')}"), secure.token()
    csr = request(KEYS[kind](), [caller.name]) if kind in KEYS else not_its_own(caller.name)
    refused = secure.introduce(caller, csr=csr, token=token)
    assert (refused.status, refused.code) == (400, "malformed")
    assert secure.certificates(caller.name) == [] and secure.used(token) == 0
    secure.told("malformed", caller.address)
    secure.enrol(caller, token)
    assert secure.poll(caller).status == 304


def test_an_ed25519_key_is_as_good_as_one_on_p256(secure: SecureSite) -> None:
    caller = Caller("strong-ed25519")
    csr = request(ed25519.Ed25519PrivateKey.generate(), [caller.name])
    assert secure.introduce(caller, csr=csr, token=secure.token()).status == 200
