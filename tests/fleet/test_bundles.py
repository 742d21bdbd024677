"""A board's bundle from the wish to the file: real servers, real agents and what stands in for them, both links."""

import json
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest
import requests
import sqlalchemy as sa

from edgelift_contract import codec, routes
from edgelift_contract.bundle import BUNDLE_HEADER, MAX_BUNDLE_BYTES, BundleAbout, pack
from edgelift_contract.enrol import EnrolRequest
from edgelift_contract.errors import ContractError
from edgelift_contract.replies import ErrorReply
from edgelift_contract.report import DeviceFacts
from edgelift_fleet import bundles
from edgelift_fleet.client import Client
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.messages import BundleRequest, BundleView
from edgelift_fleet.site import SiteConfig, load_site
from edgelift_fleet.tables import BundleBodyRow, BundleRow
from tests.fleet.conftest import Server, both_engines, edgelift
from tests.simulators.device import Device
from tests.waiting import LONG_S, until

pytestmark = [pytest.mark.fleet]

ABLE = DeviceFacts(hardware_class="x86-64-avx2", accepts=["x86-64-avx2"], abilities=["bundle"])
UNABLE = DeviceFacts(hardware_class="x86-64-avx2", accepts=["x86-64-avx2"])


class Board:
    """One that says what a test has it say."""

    def __init__(self, server: Server, name: str = "pi-1", facts: DeviceFacts = ABLE) -> None:
        self.name, self._server = name, server
        self.ask("POST", routes.ENROL, codec.canonical_json(EnrolRequest(schema=1, device=name, facts=facts)))

    def ask(self, method: str, path: str, data: bytes | None = None, **headers: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {self._server.token}", **headers}
        return requests.request(method, self._server.url + path, data=data, headers=headers, timeout=LONG_S)

    def poll(self, wait_s: float = 0.0, heard: str = "") -> str:
        """The bundle that a poll says is wanted."""
        path = f"{routes.desired_path(self.name)}?wait_s={wait_s:g}"
        headers = {BUNDLE_HEADER: heard} if heard else {}
        return self.ask("GET", path, **headers).headers.get(BUNDLE_HEADER, "")

    def bring(self, bundle: str, data: bytes | None = None) -> tuple[int, str]:
        """Status and code."""
        data = self.make(bundle) if data is None else data
        answer = self.ask("PUT", routes.bundle_path(self.name), data, **{BUNDLE_HEADER: bundle})
        if answer.status_code == 200:
            return 200, ""
        return answer.status_code, msgspec.json.decode(answer.content, type=ErrorReply).code

    def make(self, bundle: str, **files: bytes) -> bytes:
        about = BundleAbout(schema=1, device=self.name, bundle=bundle, made_at=time.time())
        return pack(about, files or {"agent.log": b"all is well\n"})


@pytest.fixture
def operator(server: Server) -> Client:
    return Client(server.url, server.operator)


def ask(operator: Client, device: str = "pi-1", **fields: object) -> BundleView:
    return operator.post(f"/v1/devices/{device}/bundles", BundleRequest(**fields), BundleView)


def show(operator: Client, bundle: BundleView) -> BundleView:
    return operator.get(f"/v1/devices/{bundle.device}/bundles/{bundle.id}", BundleView)


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(ContractError) as caught:
        call()
    return caught.value.code


@both_engines
def test_one_is_asked_for_told_brought_and_kept(server: Server, operator: Client) -> None:
    board = Board(server)
    assert board.poll() == ""
    wanted = ask(operator, why="slow since noon\x1b[2J")
    assert (wanted.state, wanted.asked_by, wanted.why) == ("waiting", "operator", "slow since noon�[2J")
    assert ask(operator, why="again").id == wanted.id  # one is open at a time
    until(lambda: board.poll() == wanted.id, "the wish told")
    assert board.bring(wanted.id) == (200, "")
    assert board.bring(wanted.id) == (200, "")  # its answer was lost: the same once more
    until(lambda: board.poll() == "", "the wish over")
    found = show(operator, wanted)
    assert (found.state, found.kept, found.sha256 != "") == ("brought", True, True)
    data = operator.data(f"/v1/devices/pi-1/bundles/{wanted.id}/file")
    assert (len(data), codec.digest(data)) == (found.size_bytes, found.sha256)
    assert [one.id for one in operator.get("/v1/devices/pi-1/bundles", list[BundleView])] == [wanted.id]
    thrown = operator.delete(f"/v1/devices/pi-1/bundles/{wanted.id}", BundleView)
    assert (thrown.state, thrown.kept) == ("brought", False)  # the record stays
    assert refused(lambda: operator.data(f"/v1/devices/pi-1/bundles/{wanted.id}/file")) == "not-found"


def test_a_poll_that_waits_hears_of_it_at_once_and_once(server: Server, operator: Client) -> None:
    board, heard = Board(server), []
    thread = threading.Thread(target=lambda: heard.append(board.poll(60.0)))
    thread.start()
    until(lambda: operator.get("/v1/health", dict)["load"]["parked_polls"] == 1, "a poll that waits")
    wanted = ask(operator)
    thread.join(50)
    assert heard == [wanted.id]
    # Whoever has heard of it is held, and asked again at its end: it may have given up.
    began = time.monotonic()
    assert board.poll(0.5, wanted.id) == wanted.id
    assert time.monotonic() - began >= 0.5


def test_what_nobody_asked_for_is_not_taken(server: Server, operator: Client) -> None:
    one, other = Board(server), Board(server, "pi-2")
    wanted = ask(operator)
    assert one.bring("f" * 32) == (404, "not-found")
    assert one.bring("no-id") == (400, "malformed")
    assert other.bring(wanted.id) == (404, "not-found")
    assert show(operator, wanted).state == "waiting"
    operator.delete(f"/v1/devices/pi-1/bundles/{wanted.id}", BundleView)
    assert one.bring(wanted.id) == (404, "not-found")
    assert show(operator, wanted).state == "withdrawn"


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (lambda board, bundle: b"no bundle at all", 400, "malformed"),
        (lambda board, bundle: board.make(bundle)[:-20], 400, "malformed"),
        (lambda board, bundle: pack(
            BundleAbout(schema=1, device="pi-2", bundle=bundle, made_at=1.0), {}), 400, "wrong-device"),
    ],
)  # fmt: skip
def test_a_forged_one_ends_the_wish_and_is_not_kept(
    server: Server, operator: Client, data: Callable[[Board, str], bytes], status: int, code: str
) -> None:
    board = Board(server)
    wanted = ask(operator)
    assert board.bring(wanted.id, data(board, wanted.id)) == (status, code)
    found = show(operator, wanted)
    assert (found.state, found.kept) == ("refused", False)
    assert code in found.message
    assert refused(lambda: operator.data(f"/v1/devices/pi-1/bundles/{wanted.id}/file")) == "not-found"


def test_one_that_is_too_large_is_refused_before_it_is_read(server: Server, operator: Client) -> None:
    board = Board(server)
    wanted = ask(operator)
    assert board.bring(wanted.id, bytes(MAX_BUNDLE_BYTES + 1)) == (413, "too-large")
    assert show(operator, wanted).state == "waiting"
    assert board.bring(wanted.id) == (200, "")


def test_an_agent_of_an_older_release_is_not_asked(server: Server, operator: Client) -> None:
    Board(server, facts=UNABLE)
    assert refused(lambda: ask(operator)) == "agent-too-old"
    assert refused(lambda: ask(operator, "nobody")) == "not-found"
    done = edgelift("device", "logs", "pi-1", "--site", server.site)
    assert done.returncode == 1
    assert "can't be asked for its logs" in done.stderr and "Update edgelift on it" in done.stderr


@contextmanager
def database(site: Path) -> Iterator[Database]:
    with closing(Database(load_site(site).database)) as db:
        yield db


def test_a_wish_of_a_board_that_stays_away_expires(server: Server, operator: Client) -> None:
    board = Board(server)
    wanted = ask(operator, wait_s=60.0)
    with database(server.site) as db, db.write(SITE) as session:
        session.get(BundleRow, wanted.id).expires_at = time.time() - 1  # a minute later
    assert show(operator, wanted).state == "expired"
    assert board.bring(wanted.id) == (404, "not-found")
    until(lambda: board.poll() == "", "the wish over")
    again = ask(operator)
    assert again.id != wanted.id
    until(lambda: {one.state for one in listed(operator)} == {"expired", "waiting"}, "its end in the record")


def listed(operator: Client, device: str = "pi-1") -> list[BundleView]:
    return operator.get(f"/v1/devices/{device}/bundles", list[BundleView])


@both_engines
def test_what_is_kept_is_bounded_by_number_age_and_bytes(site: Path) -> None:
    config = SiteConfig(schema=1, bundle_days=1.0, bundle_limit_bytes=1500)
    with database(site) as db:
        with db.write(SITE) as session:
            bundles_of(session, "pi-1", 60)
            bundles_of(session, "pi-2", 2)
        with db.read() as session:
            one = bundles.list_bundles(session, "pi-1")
            assert len(one) == bundles.RECORDS_OF_DEVICE
            assert sum(row.kept for row in one) == bundles.KEPT_OF_DEVICE
            assert [row.kept for row in one][: bundles.KEPT_OF_DEVICE] == [True] * bundles.KEPT_OF_DEVICE
            sizes = [row.size_bytes for row in one if row.kept]
        with db.write(SITE) as session:
            assert bundles.sweep(session, config, time.time()) > 0
        with db.read() as session:
            rows = [*bundles.list_bundles(session, "pi-1"), *bundles.list_bundles(session, "pi-2")]
            kept = [row for row in rows if row.kept]
            assert sum(row.size_bytes for row in kept) <= 1500 < sum(sizes)
            assert session.scalar(sa.select(sa.func.count()).select_from(BundleBodyRow)) == len(kept) > 0
        with db.write(SITE) as session:
            bundles.sweep(session, config, time.time() + 2 * 86400)
        with db.read() as session:
            assert not session.scalars(sa.select(BundleBodyRow)).all()
            assert len(bundles.list_bundles(session, "pi-1")) == bundles.RECORDS_OF_DEVICE


def bundles_of(session: sa.orm.Session, device: str, number: int) -> None:
    from edgelift_fleet.devices import enrol

    enrol(session, EnrolRequest(schema=1, device=device, facts=ABLE))
    for _ in range(number):
        wanted = bundles.ask(session, device, BundleRequest(), by="operator")
        about = BundleAbout(schema=1, device=device, bundle=wanted.id, made_at=1.0)
        data = pack(about, {"noise": bytes(range(256)) * 3 + wanted.id.encode() * 10})
        bundles.take(session, device, wanted.id, data, bundles.judge(data, device=device, bundle=wanted.id))


@pytest.fixture(params=["http", "mqtt"])
def any_server(request: pytest.FixtureRequest) -> Server:
    return request.getfixturevalue({"http": "server", "mqtt": "mqtt_server"}[request.param])


def test_a_real_agent_answers_the_command(
    any_server: Server, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Over MQTT the board is told by a message: its polls are minutes apart."""
    server, out = any_server, tmp_path / "b.tar.gz"
    device = Device(tmp_path / "device", server.url, server.token)
    device.start()
    try:
        link = "mqtt" if "mqtt" in request.node.name else "http"
        until(lambda: device.status()["transport"] == link, link)
        operator = Client(server.url, server.operator)
        until(lambda: any(one["device"] == "pi-1" for one in operator.get("/v1/devices", list)), "its enrolment")
        done = edgelift("device", "logs", "pi-1", "--site", server.site, "--out", out, "--why", "a test", "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert (told["file"], told["bundle"]["why"], told["bundle"]["state"]) == (str(out), "a test", "brought")
        assert out.stat().st_mode & 0o777 == 0o600
        with tarfile.open(out) as tar:
            files = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}
        assert json.loads(files["status.json"])["transport"] == link
        assert b"enrolled" in files["agent.log"]
        assert server.token.encode() not in b"".join(files.values())
        assert not any(secret in b"".join(files.values()) for secret in secrets_of(server.site))
        listing = edgelift("device", "logs", "pi-1", "--site", server.site, "--list").stdout
        assert "brought" in listing and "a test" in listing
    finally:
        device.stop()


def secrets_of(site: Path) -> list[bytes]:
    return [path.read_bytes().strip() for path in (site / "secrets").iterdir()]


def test_the_command_says_that_a_board_is_away_and_the_wish_waits(server: Server, operator: Client) -> None:
    board = Board(server)
    done = edgelift("device", "logs", "pi-1", "--site", server.site, "--wait", "1s")
    assert done.returncode == 1
    assert "has not brought its bundle within 1 s" in done.stderr and "(timed-out)" in done.stderr
    assert "pi-1 is o" in done.stderr  # online, or offline since when
    (wanted,) = listed(operator)
    assert board.bring(wanted.id) == (200, "")
    out = server.site.parent / "late.tar.gz"
    done = edgelift("device", "logs", "pi-1", "--site", server.site, "--bundle", wanted.id, "--out", out)
    assert done.returncode == 0, done.stderr
    with tarfile.open(out) as tar:
        assert tar.getnames() == ["about.json", "agent.log"]
