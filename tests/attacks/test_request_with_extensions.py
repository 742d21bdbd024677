"""A request for a certificate asks to be an authority, a server, or other hosts: nothing of that is in what it gets."""

import time

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from tests.attacks.csr import request
from tests.attacks.who import Caller, SecureSite

pytestmark = pytest.mark.fleet

WANTED: dict[str, tuple[x509.ExtensionType, bool]] = {
    "an authority": (x509.BasicConstraints(ca=True, path_length=None), True),
    "signing certificates": (
        x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=True, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        ), True,
    ),
    "a server": (
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False,
    ),
    "other names": (x509.SubjectAlternativeName([x509.DNSName("pi-2"), x509.DNSName("farm")]), False),
    "what nobody knows": (x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True),
}  # fmt: skip


@pytest.mark.parametrize("what", WANTED)
def test_what_it_asks_for_is_left_out(secure: SecureSite, what: str) -> None:
    caller = Caller(f"asks-for-{list(WANTED).index(what)}")
    csr = request(caller.key, [caller.name], [WANTED[what]])
    secure.enrol(caller, secure.token(), csr=csr)
    made = x509.load_pem_x509_certificate(caller.certificates.encode())
    extensions = made.extensions
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    uses = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert basic.critical and not basic.value.ca
    assert usage.digital_signature and not (usage.key_cert_sign or usage.crl_sign)
    assert list(uses) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert len(list(extensions)) == 3
    assert [one.value for one in made.subject] == [caller.name]
    assert made.not_valid_after_utc.timestamp() < time.time() + 91 * 86400
    assert secure.poll(caller).status == 304
