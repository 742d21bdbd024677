"""Who may call the devices' side: by a certificate of the site's authority; by a token, to get one; or by the token that
all devices of an older site share, as long as that site still takes it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID
from starlette.types import Scope

from edgelift_contract.errors import TransportError
from edgelift_fleet.api.limits import Bearer, connection_of
from edgelift_fleet.identity.authority import key_digest
from edgelift_fleet.identity.issuing import Peer, refuse_other
from edgelift_fleet.identity.known import KnownIdentities
from edgelift_fleet.identity.tokens import looks_like_token


@dataclass(frozen=True)
class Came:
    """What a request came by: `peer` holds a certificate, `secret` is a token's to be checked; neither: the shared token."""

    peer: Peer | None = None
    secret: str = ""


class Guard:
    """Lets requests of devices in."""

    def __init__(self, known: KnownIdentities, shared: Bearer | None) -> None:
        """Bind.

        Args:
            known: who has a certificate.
            shared: the token that all share; None where there is none.
        """
        self._known, self._shared = known, shared

    def judge(self, scope: Scope, device: str, *, enrolling: bool) -> Came:
        """Let a request in, or not.

        Args:
            scope: of the request.
            device: that its path names; empty for none.
            enrolling: it introduces itself.

        Raises:
            TransportError: `not-authorised`, `identity-revoked`, `identity-expired`, `already-enrolled`.
            ContractError: `wrong-device` for a certificate of another.
        """
        connection = connection_of(scope)
        if connection.certificate:
            peer = read_peer(connection.certificate)
            self._known.judge(peer, renewing=enrolling)
            if device:
                refuse_other(peer, device)
            connection.let_in(peer.device)
            return Came(peer)
        if enrolling and looks_like_token(secret := bearer_of(scope)):
            return Came(secret=secret)  # only the database knows whether it holds
        if self._shared is None:
            raise TransportError(
                "not-authorised", "This site knows its devices by their certificates; none was shown.",
                hint="Enrol this one: edgelift token create, then edgelift-agent enroll.",
            )  # fmt: skip
        self._shared.judge(scope)
        if device:
            self._known.refuse_shared(device)
        return Came()


def bearer_of(scope: Scope) -> str:
    """The token that a request bears; empty for none."""
    given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    scheme, _, token = given.partition(b" ")
    return token.strip().decode("latin-1") if scheme.lower() == b"bearer" else ""


@functools.lru_cache(maxsize=32_768)
def read_peer(certificate: bytes) -> Peer:
    """Who shows a certificate (DER) that TLS has verified."""
    read = x509.load_der_x509_certificate(certificate)
    names = read.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = str(names[0].value) if len(names) == 1 else ""
    key = read.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey)  # the authority signs no others
    return Peer(name, f"{read.serial_number:040x}", read.not_valid_after_utc.timestamp(), key_digest(key))
