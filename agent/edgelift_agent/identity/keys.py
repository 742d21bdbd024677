"""A key of this device's own (ECDSA on P-256), and the request for a certificate that names it (PKCS #10)."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID


def new_key() -> bytes:
    """A private key, PEM. No passphrase: a board starts by itself; its file is for its owner alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def end_of(certificate: str) -> float:
    """Until when a certificate (PEM) holds, seconds since 1970. Raises ValueError for what is none."""
    try:
        return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc.timestamp()
    except x509.InvalidVersion as error:
        raise ValueError(str(error)) from error


def request_for(device: str, key: bytes) -> str:
    """A request (PEM) for a certificate of that name, signed by the key. Raises ValueError for what is no such key."""
    private = load_pem_private_key(key, None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise TypeError("not an EC key")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(private, SHA256())
    return made.public_bytes(Encoding.PEM).decode()
