"""The authority of the certificates by which devices answer who scrapes their metrics.

It has the key of the site's authority, and another name. Whoever checks a certificate looks for its maker by name among
those that he trusts: a scraper trusts this one, while devices, brokers and operators trust the site's authority alone. So no
device can stand in the control plane's place by a certificate that was made for answering scrapers: its own certificate is
good for calling, this one for being called, and each only where its maker is trusted.
"""

from __future__ import annotations

import hashlib

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgelift_fleet.identity.authority import Authority, certificate_builder, key_usage, new_serial

#: What its name ends with; a name has 64 characters at most (X.520).
_SUFFIX = " metrics"
_MAX_NAME = 64


class MetricsAuthority:
    """Made of the site's authority whenever it is needed: nothing of it is kept."""

    def __init__(self, authority: Authority) -> None:
        self._of = authority
        name = authority.name[: _MAX_NAME - len(_SUFFIX)] + _SUFFIX
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    @property
    def certificate(self) -> str:
        """Its own (PEM), which a scraper trusts. Each is signed anew; by name, number and key all are the same."""
        key = self._of.public_key
        serial = (
            "00" + hashlib.sha256(self._of.pin.encode()).hexdigest()[:38]
        )  # a positive number of 20 bytes at most
        builder = (
            certificate_builder(self._name, self._name, key, self._of.not_after, serial)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(key_usage(sign_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )
        return self._of.sign(builder)

    def issue(self, certificate: str) -> str:
        """For a device that was given `certificate` (PEM) by the site's authority: one to answer by, for the same key and
        as long. Its name, the device's id, is its only host name: boards change their addresses.
        """
        own = x509.load_pem_x509_certificate(certificate.encode())
        device = str(own.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
        until, serial = own.not_valid_after_utc.timestamp(), new_serial(self._of.mark)
        builder = (
            certificate_builder(own.subject, self._name, own.public_key(), until, serial)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(device)]), critical=False)
        )
        return self._of.sign(builder)
