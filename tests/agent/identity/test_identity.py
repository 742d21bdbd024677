"""The device's own identity: its files, the way that it gives, and who is not believed."""

import ssl
from contextlib import nullcontext
from datetime import datetime, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from urllib3 import Timeout

from edgelift_agent.identity.identity import DeviceIdentity, secured
from edgelift_agent.identity.kept import IdentityFiles
from edgelift_agent.identity.keys import request_for
from edgelift_agent.link.bounded import Watch
from edgelift_agent.link.session import FAULTS, HttpSession
from edgelift_agent.system.clock import SystemClock
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.disk import Disk
from edgelift_agent.testing.faults import FaultyDisk
from edgelift_contract.errors import DeviceError, TransportError
from edgelift_contract.identity import Certified


class Site:
    """An authority that gives certificates."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.pem = self.sign("site", self.key.public_key())

    def sign(self, name: str, public: ec.EllipticCurvePublicKey) -> str:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "site")])
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime(2020, 1, 1, tzinfo=timezone.utc))
            .not_valid_after(datetime(2040, 1, 1, tzinfo=timezone.utc))
            .add_extension(x509.BasicConstraints(ca=name == "site", path_length=None), critical=True)
            .sign(self.key, SHA256())
        )
        return made.public_bytes(Encoding.PEM).decode()

    def certify(self, csr: str) -> Certified:
        key = x509.load_pem_x509_csr(csr.encode()).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        return Certified(certificate=self.sign("pi-1", key), authorities=self.pem)


def identity_of(folder: Path, disk: Disk | None = None, url: str = "", floor: float = 0.0) -> DeviceIdentity:
    degraded = Degraded(SystemClock())
    return DeviceIdentity(IdentityFiles(folder, disk or Disk()), degraded, "pi-1", url, lambda: floor)


def enrol(identity: DeviceIdentity, site: Site, called: str = "https://farm:8470") -> None:
    identity.want()
    assert identity.take(site.certify(identity.request()), called) is not None
    identity.settle()


def test_a_device_asks_for_nothing_until_it_is_told_to(tmp_path: Path) -> None:
    identity = identity_of(tmp_path)
    assert identity.way() is None and identity.request() == ""
    identity.want()
    csr = identity.request()
    again = identity_of(tmp_path)  # the answer was lost, with the process
    again.want()
    keys = [x509.load_pem_x509_csr(one.encode()).public_key() for one in (csr, again.request())]
    assert keys[0] == keys[1]


def test_what_came_counts_once_it_was_tried(tmp_path: Path) -> None:
    site, identity = Site(), identity_of(tmp_path)
    assert (
        identity.take(site.certify(request_for("pi-1", key())), "https://farm:8470") is None
    )  # it asked for none
    identity.want()
    tried = identity.take(site.certify(identity.request()), "http://farm:8470")
    assert tried is not None and tried.url == "https://farm:8470" and identity.way() is None
    identity.settle()
    way = identity.way()
    assert way is not None and way.url == "https://farm:8470" and way.number == 1
    assert {path.name for path in (tmp_path / "identity").iterdir()} == {"device.pem", "host.json"}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "identity").iterdir()} == {0o600}
    renewed = identity_of(tmp_path)
    enrol(renewed, site)
    found = identity.way()  # another process renewed it
    assert found is not None and found.number == 2


def key() -> bytes:
    made = ec.generate_private_key(ec.SECP256R1())
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("error", ["ENOSPC", "EROFS", "EIO"])
def test_a_disk_that_refuses_leaves_a_way(tmp_path: Path, error: str) -> None:
    site = Site()
    enrol(identity_of(tmp_path), site)
    device = tmp_path / "identity" / "device.pem"
    before = device.read_bytes()
    refused = 0
    for number in range(1, 40):
        try:
            enrol(identity_of(tmp_path, FaultyDisk(error, number)), site)
        except DeviceError:
            refused += 1
        way = identity_of(tmp_path).way()
        assert (
            way is not None and way.url == "https://farm:8470"
        )  # the old certificate, or the new one: a whole one
    assert refused > 8 and device.read_bytes() != before


@pytest.mark.parametrize("spoil", ["empty", "torn", "folder", "another"])
def test_files_that_cant_be_read_are_told_and_what_is_known_goes_on(tmp_path: Path, spoil: str) -> None:
    site, degraded = Site(), Degraded(SystemClock())
    enrol(identity_of(tmp_path), site)
    running = DeviceIdentity(IdentityFiles(tmp_path, Disk()), degraded, "pi-1", "", lambda: 0.0)
    known = running.way()
    device = tmp_path / "identity" / "device.pem"
    good = device.read_bytes()
    device.unlink()
    assert running.way() == known  # taken away
    if spoil == "folder":
        device.mkdir()
    else:
        device.write_bytes({"empty": b"", "torn": good[: len(good) // 2], "another": key() + good}[spoil])
    fresh = DeviceIdentity(IdentityFiles(tmp_path, Disk()), degraded, "pi-1", "", lambda: 0.0)
    with pytest.raises(TransportError) as caught:  # not back to plain HTTP and an old token
        fresh.way()
    assert caught.value.code == "state-damaged" or spoil == "folder"
    assert [one.part for one in degraded.reasons()] == ["certificate"]
    assert running.way() == known
    device.rmdir() if spoil == "folder" else device.unlink()
    device.write_bytes(good)
    assert fresh.way() is not None and degraded.reasons() == []


def test_nobody_but_the_sites_authority_vouches(tmp_path: Path) -> None:
    enrol(identity_of(tmp_path), Site())
    way = identity_of(tmp_path).way()
    assert way is not None
    nobody = "https://127.0.0.1:9/"  # a library would load others by now
    with (
        HttpSession(Watch(), way.tls, way.vet) as session, pytest.raises(FAULTS),
        session.ask("GET", nobody, timeout=Timeout(1)),
    ):  # fmt: skip
        pass
    assert way.tls.cert_store_stats() == {"x509": 1, "crl": 0, "x509_ca": 1}
    assert way.tls.verify_mode == ssl.CERT_REQUIRED and not way.tls.check_hostname


@pytest.mark.parametrize(
    "authorities", ["", "ä", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_who_may_vouch_must_be_certificates(authorities: str) -> None:
    with pytest.raises(DeviceError) as caught:
        DeviceIdentity.context(authorities)
    assert caught.value.code == "state-damaged"


class Shown:
    def __init__(self, until: str) -> None:
        self.until = until

    def getpeercert(self) -> dict[str, str]:
        return {"notAfter": self.until} if self.until else {}


@pytest.mark.parametrize(
    ("until", "floor", "holds"),
    [
        ("Jan  1 00:00:00 2027 GMT", 0.0, True), ("Jan  1 00:00:00 2027 GMT", 1.7e9, True),
        ("Jan  1 00:00:00 2027 GMT", 1.9e9, False), ("", 0.0, False),
    ],
)  # fmt: skip
def test_the_control_planes_certificate_is_judged_by_what_was_signed_last(
    tmp_path: Path, until: str, floor: float, holds: bool
) -> None:
    identity = identity_of(tmp_path, floor=floor)
    with nullcontext() if holds else pytest.raises(ssl.SSLError):
        identity.vet(Shown(until))


@pytest.mark.parametrize(
    ("url", "port", "made"),
    [
        ("http://farm:8470", 8471, "https://farm:8471"), ("https://farm", 0, "https://farm:443"),
        ("http://[::1]:8470", 0, "https://[::1]:8470"), ("https://10.0.0.2:8470", 0, "https://10.0.0.2:8470"),
    ],
)  # fmt: skip
def test_where_https_is(url: str, port: int, made: str) -> None:
    assert secured(url, port) == made


def test_a_url_of_the_configuration_counts_more_than_what_was_kept(tmp_path: Path) -> None:
    enrol(identity_of(tmp_path), Site(), "https://old:8470")
    for configured, used in (("https://new:8470/", "https://new:8470"), ("http://new:8470", "https://old:8470")):
        way = identity_of(tmp_path, url=configured).way()
        assert way is not None and way.url == used
