"""Requests for certificates (PKCS #10) that no agent makes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

Key = (
    ec.EllipticCurvePrivateKey
    | rsa.RSAPrivateKey
    | dsa.DSAPrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)


def request(
    key: bytes | Key, names: Sequence[str], extensions: Iterable[tuple[x509.ExtensionType, bool]] = ()
) -> str:
    """One with these names and extensions (and whether each is critical), signed by the key."""
    signer = load_pem_private_key(key, None) if isinstance(key, bytes) else key
    assert isinstance(signer, Key)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one) for one in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, is_critical)
    own = isinstance(signer, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)  # hash as they are told
    return builder.sign(signer, None if own else SHA256()).public_bytes(Encoding.PEM).decode()
