"""A device answers scrapers by TLS: who is believed by whom, what a client may take, and a certificate that is renewed."""

import contextlib
import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.attacks.enrolled import DEVICE, Enrolled
from tests.fleet.conftest import Server, edgelift
from tests.fleet.identity.sites import enroll, make_token, secure
from tests.simulators.device import Device
from tests.waiting import LONG_S
from tests.waiting import until as wait_until

from edgelift_agent.admin.server import AdminApp, Text
from edgelift_agent.config import load_config
from edgelift_agent.doctor import check_metrics
from edgelift_agent.identity.identity import DeviceIdentity
from edgelift_agent.identity.kept import IdentityFiles
from edgelift_agent.identity.metrics_tls import MetricsTls
from edgelift_agent.system.connections import Bounds
from edgelift_agent.system.disk import Disk
from edgelift_agent.system.sockets import bind_tcp
from edgelift_agent.system.standby import StandbyThreads
from edgelift_agent.system.web import HttpSite, WebServer
from edgelift_contract.errors import DeviceError
from edgelift_fleet.identity.authority import Authority
from edgelift_fleet.identity.changing import metrics_authorities
from edgelift_fleet.identity.files import authorities_of, keep_authorities
from edgelift_fleet.identity.metrics_authority import MetricsAuthority
from edgelift_fleet.site import create_site

pytestmark = pytest.mark.fleet

TOKEN, PLACES = "a-scrapers-token", 8
ASK = f"GET /metrics HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
LAST = b"Connection: close\r\n\r\n"


class Scraped:
    """A device with its certificates, whose `/metrics` is answered in this process."""

    def __init__(self, folder: Path, **bounds: float) -> None:
        folder.mkdir()
        self.authority = Authority.make("farm", time.time())
        self.enrolled = Enrolled(folder, self.authority, "http://farm:8470", "https://farm:8470")
        self.files = IdentityFiles(self.enrolled.state, Disk())
        self.tls = MetricsTls(self.files)
        self._threads = StandbyThreads(2, "answer")
        listening = bind_tcp("127.0.0.1", 0, 16)
        self.port = listening.getsockname()[1]
        app = AdminApp({"GET /metrics": lambda _: Text(b"up 1\n", b"text/plain")}, self._threads, TOKEN)
        patience = {"silent_s": LONG_S, "request_s": LONG_S, **bounds}
        self.site = HttpSite(app, [listening], Bounds(connections=PLACES, **patience), tls=self.tls.context)
        self.web = WebServer("scraped", [self.site])

    def __enter__(self) -> "Scraped":
        self.web.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.web.stop(0.5)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def trusting(self) -> ssl.SSLContext:
        """What a scraper is set up by."""
        return ssl.create_default_context(cadata=MetricsAuthority(self.authority).certificate)

    def connect(self, tls: ssl.SSLContext | None = None, name: str = DEVICE, port: int = 0) -> ssl.SSLSocket:
        sock = socket.create_connection(("127.0.0.1", port or self.port), timeout=LONG_S)
        try:
            return (tls or self.trusting()).wrap_socket(sock, server_hostname=name)
        except BaseException:
            sock.close()
            raise

    def in_the_clear(self, *pieces: bytes) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=LONG_S)
        for piece in pieces:
            sock.sendall(piece)
        return sock

    def scrape(self) -> bytes:
        with self.connect() as tls:
            tls.sendall(ASK + LAST)
            return rest_of(tls)


def rest_of(sock: socket.socket) -> bytes:
    """All until the server ends the connection."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while more := sock.recv(65536):
            found += more
    return found


def serial_of(tls: ssl.SSLSocket) -> str:
    """Of the certificate that the server showed."""
    shown = tls.getpeercert()
    assert shown is not None
    return str(shown["serialNumber"])


def one_answer(sock: socket.socket) -> bytes:
    found = b""
    while not found.endswith(b"up 1\n"):
        more = sock.recv(65536)
        assert more, found
        found += more
    return found


@pytest.fixture
def scraped(tmp_path: Path) -> Iterator[Scraped]:
    with Scraped(tmp_path / "board") as made:
        yield made


def hello() -> bytes:
    """What a TLS client says first."""
    out = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname=DEVICE)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


def test_a_scraper_that_trusts_the_metrics_authority_is_answered_by_the_devices_name(scraped: Scraped) -> None:
    answer = scraped.scrape()
    assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"up 1\n")
    with scraped.connect() as tls:
        tls.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n" + LAST)
        refused = rest_of(tls)
    assert refused.startswith(b"HTTP/1.1 401") and b"up 1" not in refused


def test_it_is_believed_as_nobody_else_and_by_nobody_else(scraped: Scraped) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="pi-2"):
        scraped.connect(name="pi-2")
    with pytest.raises(ssl.SSLCertVerificationError):
        scraped.connect(ssl.create_default_context(cadata=scraped.authority.certificate))


def test_no_device_can_stand_in_the_control_planes_place_by_it(scraped: Scraped) -> None:
    """Devices go by who signed alone; also where the metrics authority's own certificate is shown with it."""
    other = MetricsAuthority(scraped.authority).certificate
    for more in ("", other):
        with scraped.files.metrics.open("a") as file:
            file.write(more)
        with pytest.raises(ssl.SSLCertVerificationError):
            scraped.connect(DeviceIdentity.context(scraped.authority.certificate))
    scraped.files.metrics.write_bytes(scraped.files.device.read_bytes())  # nor by that which it calls with
    for trusted in (scraped.authority.certificate, other):
        with pytest.raises(ssl.SSLCertVerificationError):
            scraped.connect(DeviceIdentity.context(trusted))


def test_who_speaks_in_the_clear_is_told_so_and_served_nothing(scraped: Scraped) -> None:
    with scraped.in_the_clear(ASK + LAST) as sock:
        head, _, body = rest_of(sock).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400") and json.loads(body)["code"] == "tls-failed"
    assert b"up 1" not in body
    assert scraped.scrape().endswith(b"up 1\n")


def test_a_hello_in_pieces_and_a_request_with_the_handshakes_end_are_taken(scraped: Scraped) -> None:
    read, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = scraped.trusting().wrap_bio(read, out, server_hostname=DEVICE)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    first = out.read()
    with scraped.in_the_clear(first[:1], first[1:7], first[7:]) as sock:
        while True:
            more = sock.recv(65536)
            assert more, "the server ended the handshake"
            read.write(more)
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                continue
        client.write(ASK + LAST)
        sock.sendall(out.read())
        found = b""
        while not found.endswith(b"up 1\n"):
            more = sock.recv(65536)
            assert more, found
            read.write(more)
            with contextlib.suppress(ssl.SSLWantReadError):
                while part := client.read():  # a record at a time, of all that came
                    found += part


def test_handshakes_that_never_end_take_nobodys_place(scraped: Scraped) -> None:
    said = hello()
    with contextlib.ExitStack() as stack:
        used = stack.enter_context(scraped.connect())
        stuck = []
        for number in range(4 * PLACES):
            pieces = ((), (said[:40],), (said,))[number % 3]
            stuck.append(stack.enter_context(scraped.in_the_clear(*pieces)))
            used.sendall(ASK + b"\r\n")
            assert one_answer(used)
        assert len(scraped.site.connections) <= PLACES
        assert scraped.scrape().endswith(b"up 1\n")
        for sock in stuck[:PLACES]:
            rest_of(sock)  # comes to an end


@pytest.mark.parametrize("said", ["nothing", "half a hello", "hello"])
def test_a_handshake_has_an_end(tmp_path: Path, said: str) -> None:
    pieces = {"nothing": (), "half a hello": (hello()[:40],), "hello": (hello(),)}[said]
    with Scraped(tmp_path / "board", silent_s=1.0, request_s=1.0) as one, one.in_the_clear(*pieces) as sock:
        rest_of(sock)
        wait_until(lambda: not one.site.connections)


def test_a_stop_waits_for_no_handshake(tmp_path: Path) -> None:
    with Scraped(tmp_path / "board") as one:
        sock = one.in_the_clear(hello())
        assert sock.recv(1)
    with sock:
        rest_of(sock)


def test_a_renewed_certificate_counts_from_the_next_connection_and_drops_none(scraped: Scraped) -> None:
    with scraped.connect() as old:
        old.sendall(ASK + b"\r\n")
        assert one_answer(old)
        scraped.enrolled.take(scraped.enrolled.started())
        with scraped.connect() as new:
            assert serial_of(new) != serial_of(old)
        old.sendall(ASK + b"\r\n")
        assert one_answer(old)
    good = scraped.files.metrics.read_bytes()
    scraped.files.metrics.write_bytes(good[: len(good) // 2])
    assert scraped.scrape().endswith(b"up 1\n")  # what is known counts on
    with pytest.raises(DeviceError, match="no certificate") as caught:
        scraped.tls.check()
    assert caught.value.code == "state-damaged"
    scraped.files.metrics.unlink()
    assert scraped.scrape().endswith(b"up 1\n")


def test_without_a_certificate_nothing_is_served_and_it_is_told(tmp_path: Path) -> None:
    with Scraped(tmp_path / "board") as one:
        one.files.metrics.unlink()
        with pytest.raises(OSError):
            one.connect()
        with one.in_the_clear(ASK + LAST) as sock:
            assert b"tls-failed" in rest_of(sock)
        with pytest.raises(DeviceError, match="no certificate") as caught:
            one.tls.check()
        assert caught.value.code == "tls-failed" and "admin_tls" in caught.value.hint


def test_while_the_authority_is_changed_devices_of_either_are_believed(tmp_path: Path) -> None:
    site, _ = create_site(tmp_path / "site")
    old, new = Authority.make("farm", time.time()), Authority.make("farm", time.time())
    keep_authorities(site, [new, old])
    both = metrics_authorities(site)
    assert len(authorities_of(site)) == both.count("BEGIN CERTIFICATE") == 2
    for number, authority in enumerate((old, new)):
        with Scraped(tmp_path / f"board-{number}") as one:
            one.enrolled.authority = authority
            one.enrolled.take(one.enrolled.started())
            one.connect(ssl.create_default_context(cadata=both)).close()


@pytest.fixture
def board(site: Path, tmp_path: Path) -> Iterator[tuple[Server, Device]]:
    """An enrolled one, which has not begun, with metrics for other machines."""
    secure(site)
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    serve = f'admin_host = "0.0.0.0"\nadmin_token_file = "{token}"'
    with (
        Server(site, "--broker", "none") as server,
        Device(tmp_path / "board", server.url, "none", serve=serve) as device,
    ):
        assert enroll(device, make_token(server)).returncode == 0
        yield server, device


def test_a_real_board_is_scraped_by_what_the_site_gave_it(board: tuple[Server, Device], tmp_path: Path) -> None:
    server, device = board
    metrics, host = (device.state / "identity" / name for name in ("metrics.pem", "host.json"))
    assert metrics.stat().st_mode & 0o777 == 0o600
    assert check_metrics(load_config(device.config)).state == "ok"
    metrics.unlink()  # as by an agent of an older release
    host.write_text(host.read_text().replace('"metrics":true', '"metrics":false'))
    assert check_metrics(load_config(device.config)).state == "warn"
    device.start()
    wait_until(metrics.exists)
    done = edgelift("authority", "metrics", "--site", server.site)
    assert done.returncode == 0, done.stderr
    tls = ssl.create_default_context(cadata=done.stdout)
    port = device.status()["admin_port"]
    sock = socket.create_connection(("127.0.0.1", port), timeout=LONG_S)
    with tls.wrap_socket(sock, server_hostname=device.name) as scraper:
        scraper.sendall(ASK + LAST)
        assert b"edgelift_certificate_end_timestamp_seconds" in rest_of(scraper)
    plain = socket.create_connection(("127.0.0.1", port), timeout=LONG_S)
    with plain:
        plain.sendall(ASK + LAST)
        assert rest_of(plain).startswith(b"HTTP/1.1 400")
