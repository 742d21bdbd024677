"""What is read of a request for a certificate, and of a certificate: odd ones are told for what they are."""

import base64
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from edgelift_agent.identity.keys import new_key, request_for
from edgelift_contract.errors import ContractError, DeviceError, EdgeliftError
from edgelift_fleet.identity.authority import Authority, key_of

pytestmark = pytest.mark.fleet

NOW = 1_800_000_000.0


def csr(name: str, key: object) -> str:
    made = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    return made.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()  # type: ignore[arg-type]  # of several kinds


def altered(text: str) -> str:
    lines = text.splitlines()
    lines[2] = ("A" if lines[2][5] != "A" else "B").join((lines[2][:5], lines[2][6:]))
    return "\n".join(lines) + "\n"


def test_odd_requests_for_certificates_are_refused() -> None:
    authority = Authority.make("farm", NOW)
    p256 = ec.generate_private_key(ec.SECP256R1())
    for text, expected in (
        ("", "malformed"), ("-----BEGIN CERTIFICATE REQUEST-----\n", "malformed"), ("x" * 5000, "too-large"),
        (csr("pi-2", p256), "wrong-device"), (csr("pi-1", ec.generate_private_key(ec.SECP384R1())), "malformed"),
        (csr("pi-1", rsa.generate_private_key(65537, 2048)), "malformed"), (altered(csr("pi-1", p256)), "malformed"),
        ("\ud800", "malformed"),
    ):  # fmt: skip
        with pytest.raises(EdgeliftError) as caught:
            authority.issue_device("pi-1", text, NOW)
        assert caught.value.code == expected, text[:80]
    made = x509.load_pem_x509_certificate(authority.issue_device("pi-1", csr("pi-1", p256), NOW).pem.encode())
    basic = made.extensions.get_extension_for_class(x509.BasicConstraints).value
    uses = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert not basic.ca and list(uses) == [x509.ExtendedKeyUsageOID.CLIENT_AUTH]


def test_a_request_of_no_known_version_is_malformed() -> None:
    der = x509.load_pem_x509_csr(request_for("pi-1", new_key()).encode()).public_bytes(Encoding.DER)
    at = der.index(b"\x02\x01\x00")  # the first whole number in it is its version
    spoilt = base64.encodebytes(der[:at] + b"\x02\x01\x01" + der[at + 3 :]).decode()
    with pytest.raises(ContractError) as caught:
        key_of(f"-----BEGIN CERTIFICATE REQUEST-----\n{spoilt}-----END CERTIFICATE REQUEST-----\n", "pi-1")
    assert caught.value.code == "malformed" and "version" in caught.value.message


def test_a_certificate_in_which_no_key_can_be_read_is_told_as_one_that_can_not_be_read() -> None:
    made = Authority.make("farm", NOW)
    key = load_pem_private_key(made.key, None).public_key()
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    der = x509.load_pem_x509_certificate(made.certificate.encode()).public_bytes(Encoding.DER)
    assert der.count(point) == 1
    for spoilt in (point[:-1] + bytes([point[-1] ^ 1]), b"\x05" + point[1:]):  # off the curve; of no known form
        pem = ssl.DER_cert_to_PEM_cert(der.replace(point, spoilt)).encode()
        with pytest.raises(DeviceError) as caught:
            Authority.load(made.key, pem)
        assert caught.value.code == "bad-config" and "can't be read" in caught.value.message
