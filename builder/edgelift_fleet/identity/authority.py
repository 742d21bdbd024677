"""The site's certificate authority: its key and certificate, and what it signs for devices and for the server itself.

Keys are ECDSA on P-256 with SHA-256, which every TLS library of the last ten years knows; certificates are X.509 v3
(RFC 5280), made by `cryptography`. The authority signs nothing but what is used at this site: its certificate stands in
no system's store, and whoever is to trust it is told its digest (the pin) beforehand.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgelift_contract.errors import ContractError, DeviceError

#: How long certificates hold, days: the authority's as long as a board may lie in a store-room; the others so short that
#: what was stolen unseen ends by itself (facts on identity: 90 days, renewed at two thirds).
CA_DAYS, DEVICE_DAYS, SERVER_DAYS = 7300, 90, 90
#: A certificate holds from a time at which no clock of a signer can stand: boards' own may be behind.
_SINCE = datetime(2020, 1, 1, tzinfo=timezone.utc)
#: Nor can a clock stand after this one (2100), seconds since 1970: what it dates would hold for ever, or can't be written.
_LATEST_S = 4_102_444_800.0
#: Longest request for a certificate that is read, bytes: one for P-256 has 400.
MAX_CSR_BYTES = 4096
#: A serial number has 20 bytes at most, and must be positive (RFC 5280, 4.1.2.2): 31 bits say whose, the others are random.
_RANDOM_BITS = 128
_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.+?-----END [A-Z ]*PRIVATE KEY-----\n?", re.DOTALL)

_UTC = timezone.utc
#: What reading a certificate, a request or a key raises where that is none; x509's own are no ValueError.
UNREADABLE = (
    ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature, x509.InvalidVersion, x509.DuplicateExtension,
)  # fmt: skip


class _Foreign(DeviceError):
    """A key is another certificate's."""


@dataclass(frozen=True)
class Issued:
    """A certificate that was made.

    Attributes:
        pem: it, as PEM.
        serial: in hexadecimal.
        not_after: until when it holds, seconds since 1970.
        public_key: SHA-256 of the key that it names.
    """

    pem: str
    serial: str
    not_after: float
    public_key: str


class Authority:
    """A certificate authority."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key, self._certificate = key, certificate

    @classmethod
    def make(cls, name: str, now: float) -> Authority:
        """A new one.

        Args:
            name: of the site, for people.
            now: seconds since 1970.

        Raises:
            DeviceError: `clock-wrong`.
        """
        refuse_clock(now)
        key = ec.generate_private_key(ec.SECP256R1())
        # A name of its own each: two certificates of one name and two keys would be taken for each other.
        subject = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, f"edgelift {name[:32]} {secrets.token_hex(4)}")]
        )
        usage = key_usage(sign_certificates=True)
        made = (
            certificate_builder(subject, subject, key.public_key(), now + CA_DAYS * 86400, new_serial())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, SHA256())
        )
        return cls(key, made)

    @classmethod
    def load_all(cls, keys: bytes, certificates: Iterable[str]) -> list[Authority]:
        """Those of the certificates (PEM) whose key is among `keys` (PEM, one after the other), in their order.

        Raises:
            DeviceError: `bad-config` for what can't be read.
        """
        found = []
        for certificate in certificates:
            for key in _KEY.findall(keys):
                with suppress(_Foreign):
                    found.append(cls.load(key, certificate.encode()))
                    break
        return found

    @classmethod
    def load(cls, key: bytes, certificate: bytes) -> Authority:
        """Read both from PEM.

        Raises:
            DeviceError: `bad-config` when one of them is none, or they don't belong together.
        """
        try:
            private = load_pem_private_key(key, None)
            public = x509.load_pem_x509_certificate(certificate)
            # What stands in it is read only when it is asked for, and may be none then.
            holds, _ = public.public_key(), (public.subject, public.not_valid_after_utc)
        except UNREADABLE as error:
            raise DeviceError("bad-config", f"The site's authority can't be read: {error}.") from error
        if not isinstance(private, ec.EllipticCurvePrivateKey) or private.public_key() != holds:
            raise _Foreign("bad-config", "The key of the site's authority does not belong to its certificate.")
        return cls(private, public)

    @property
    def certificate(self) -> str:
        """Its certificate, as PEM."""
        return self._certificate.public_bytes(Encoding.PEM).decode()

    @property
    def key(self) -> bytes:
        """Its private key, as PEM."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def name(self) -> str:
        """By which those that it makes say who made them."""
        found = self._certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(found[0].value) if found else ""

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The key by which its signatures are known."""
        return self._key.public_key()

    def sign(self, builder: x509.CertificateBuilder) -> str:
        """A certificate (PEM) with its signature."""
        return builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM).decode()

    @property
    def not_after(self) -> float:
        """Until when it holds, seconds since 1970."""
        return self._certificate.not_valid_after_utc.timestamp()

    @property
    def mark(self) -> str:
        """What the serials of all that it makes begin with: by it a certificate on record tells whose it is."""
        return f"{int(self.pin[:8], 16) >> 1:08x}"

    @property
    def pin(self) -> str:
        """SHA-256 of its certificate: whoever knows it needs nobody else to trust it."""
        return pin_of(self.certificate)

    def issue_device(
        self,
        device: str,
        csr: str,
        now: float,
        days: float = DEVICE_DAYS,
        *,
        again: tuple[str, float] | None = None,
    ) -> Issued:
        """A certificate for a device, for the key that its request names and proves to hold.

        Whatever else the request asks for is left out: what a certificate may be used for is said here.

        Args:
            device: whom it names.
            csr: its request, PEM.
            now: seconds since 1970.
            days: how long it holds.
            again: serial and end of one that was made for the same key: it is signed once more, and is no other.

        Raises:
            ContractError: as `key_of`. DeviceError: `clock-wrong`.
        """
        refuse_clock(now)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)])
        serial, until = again or (new_serial(self.mark), now + days * 86400)
        made = (
            certificate_builder(subject, self._certificate.subject, key_of(csr, device), until, serial)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .sign(self._key, SHA256())
        )
        return _issued(made)

    def issue_own(
        self, name: str, names: Iterable[str], now: float, *, client: bool = False, days: float = SERVER_DAYS
    ) -> tuple[Issued, bytes]:
        """A certificate and a new key (PEM) for one of the control plane's own: its server, or itself at a broker.

        Args:
            name: whom it names.
            names: host names and addresses by which it is reached.
            now: seconds since 1970.
            client: it is for one who calls, not for one who is called.
            days: how long it holds.

        Raises:
            DeviceError: `clock-wrong`.
        """
        refuse_clock(now)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
        purpose = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = (
            certificate_builder(
                subject, self._certificate.subject, key.public_key(), now + days * 86400, new_serial(self.mark)
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        )
        if alternatives := [_alternative(one) for one in dict.fromkeys(names)]:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        made = builder.sign(self._key, SHA256())
        return _issued(made), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def revocations(self, serials: Iterable[str], now: float) -> bytes:
        """A list (PEM) of certificates that hold no more, by serial in hexadecimal; brokers read it.

        What is taken back is taken back whatever the clock says: one that can't be right is read as the nearest that can.
        """
        moment = datetime.fromtimestamp(min(max(now, _SINCE.timestamp()), _LATEST_S) // 1, _UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(_SINCE)
            .next_update(moment + timedelta(days=CA_DAYS))
        )
        for serial in serials:
            entry = x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(moment).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM)


def refuse_clock(now: float) -> None:
    """No certificate is made by a clock that can't be right: it would end in the past, or never.

    Raises:
        DeviceError: `clock-wrong`.
    """
    if not _SINCE.timestamp() <= now <= _LATEST_S:
        day = time.strftime("%Y-%m-%d", time.gmtime(min(max(now, 0.0), 2.0**36)))
        raise DeviceError(
            "clock-wrong", f"This machine's clock says {day}: no certificate can be made by it.",
            hint="Set the clock, or wait until the network has set it; then try again.",
        )  # fmt: skip


def pin_of(certificate: str) -> str:
    """SHA-256 of a PEM certificate's DER. Raises ValueError for what is none."""
    try:
        found = x509.load_pem_x509_certificate(certificate.encode())
    except UNREADABLE as error:
        raise ValueError(str(error)) from error
    return hashlib.sha256(found.public_bytes(Encoding.DER)).hexdigest()


def key_of(csr: str, device: str) -> ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey:
    """The public key in a device's request for a certificate (PKCS #10, PEM), which it has proved to hold.

    Raises:
        ContractError: `malformed` for what is no such request, or for a key of another kind; `wrong-device` when it
            names another; `too-large`.
    """
    if len(csr) > MAX_CSR_BYTES:
        raise ContractError("too-large", f"The request for a certificate has more than {MAX_CSR_BYTES} bytes.")
    try:
        read = x509.load_pem_x509_csr(csr.encode())
        key = read.public_key()
        holds, names = read.is_signature_valid, read.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except UNREADABLE as error:
        raise ContractError("malformed", f"The request for a certificate can't be read: {error}.") from error
    is_fit = isinstance(key, ed25519.Ed25519PublicKey) or (
        isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    )
    if not is_fit or not holds:
        raise ContractError(
            "malformed",
            "The request for a certificate is not signed by its key, an ECDSA key on P-256 or an Ed25519 key.",
        )
    if [one.value for one in names] != [device]:
        raise ContractError("wrong-device", f"The request for a certificate names another than {device!r}.")
    assert isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey)
    return key


def key_digest(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> str:
    """SHA-256 of a public key."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def new_serial(mark: str = "0") -> str:
    """A serial number in hexadecimal that begins with an authority's mark."""
    return f"{(int(mark, 16) << _RANDOM_BITS) + secrets.randbits(_RANDOM_BITS) | 1:040x}"


def certificate_builder(
    subject: x509.Name, issuer: x509.Name, key: object, until: float, serial: str
) -> x509.CertificateBuilder:
    """What all certificates have: who, by whom, for which key, until when (seconds since 1970)."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)  # type: ignore[arg-type]  # one of the kinds that `key_of` lets pass
        .serial_number(int(serial, 16))
        .not_valid_before(_SINCE)
        .not_valid_after(datetime.fromtimestamp(int(until), _UTC))
    )


def key_usage(*, sign_certificates: bool = False) -> x509.KeyUsage:
    """A key signs connections, or, an authority's, certificates."""
    return x509.KeyUsage(
        digital_signature=not sign_certificates, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=sign_certificates, crl_sign=sign_certificates,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _issued(made: x509.Certificate) -> Issued:
    key = made.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey)
    return Issued(
        made.public_bytes(Encoding.PEM).decode(), f"{made.serial_number:040x}", made.not_valid_after_utc.timestamp(),
        key_digest(key),
    )  # fmt: skip
