"""Who a simulated board is, on a site that knows its devices by certificates: its key, and the certificate for it.

Both lie in a file of the board's own, so that the same boards come again with the next simulation: a device that has a
certificate gets none for another key.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from edgelift_contract.identity import Certified


class BoardIdentity:
    """Of one board."""

    def __init__(self, folder: Path, board: str, authorities: str) -> None:
        """Bind.

        Args:
            folder: of all boards' files; it is there.
            board: the board's id.
            authorities: who may vouch for the control plane, PEM.
        """
        self._file, self._board, self._authorities = folder / f"{board}.pem", board, authorities
        self._next: ec.EllipticCurvePrivateKey | None = None

    def context(self) -> ssl.SSLContext | None:
        """TLS by which it calls as itself; None while it has no certificate that can be used."""
        context = towards(self._authorities)
        try:
            context.load_cert_chain(self._file)
        except OSError:  # of ssl's own kind, too
            return None
        return context

    def request(self) -> str:
        """A request for a certificate (PKCS #10, PEM), for a new key: the same until the certificate has come."""
        if self._next is None:
            self._next = ec.generate_private_key(ec.SECP256R1())
        key = self._next
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._board)])
        made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, SHA256())
        return made.public_bytes(Encoding.PEM).decode()

    def take(self, given: Certified) -> None:
        """The certificate that was asked for has come. Raises OSError when its file can't be written."""
        assert self._next is not None
        key = self._next.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self._authorities = given.authorities
        new = self._file.with_suffix(".new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key + given.certificate.encode())
        new.replace(self._file)
        self._next = None


def towards(authorities: str) -> ssl.SSLContext:
    """TLS towards a control plane for which these vouch (PEM), by whatever name it is called: as an agent's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authorities)
    return context
