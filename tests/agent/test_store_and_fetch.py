"""Blobs come whole or not at all: resumed, cut, tampered, too long, out of space."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.waiting import LONG_S

from edgelift_agent.artifact.fetch import Fetcher, Superseded, WrongBytes
from edgelift_agent.artifact.store import Store
from edgelift_agent.link.http import HttpTransport
from edgelift_agent.system.disk import Disk
from edgelift_agent.testing.faults import FaultyDisk
from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract.errors import ContractError, DeviceError, TransportError

SIZE = 300_000


def open_store(folder: Path, disk: Disk | None = None) -> Store:
    store = Store(folder, disk or Disk())
    store.make_folders()
    return store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path)


@pytest.fixture
def link(host: ToyHost) -> HttpTransport:
    return HttpTransport(host.url, host.token, "pi-1", timeout_s=LONG_S)


def never() -> bool:
    return False


def put(host: ToyHost, data: bytes) -> str:
    sha = hashlib.sha256(data).hexdigest()
    host.blobs[sha] = data
    return sha


def test_a_blob_arrives_whole(host: ToyHost, link: HttpTransport, store: Store) -> None:
    sha = put(host, bytes(range(256)) * 1200)
    Fetcher(link, store).blob(sha, 307_200, never)
    assert hashlib.sha256(store.blob(sha).read_bytes()).hexdigest() == sha
    assert not store.partial(sha).exists()


@pytest.mark.parametrize("cut_at", [0, 1, 65_535, 65_536, 65_537, 200_000, SIZE - 1])
def test_a_cut_transfer_resumes_at_the_byte_where_it_stopped(
    host: ToyHost, link: HttpTransport, store: Store, cut_at: int
) -> None:
    sha = put(host, b"m" * SIZE)
    host.faults.cut_at, host.faults.cuts = cut_at, 1
    fetcher = Fetcher(link, store)
    with pytest.raises(TransportError) as caught:
        fetcher.blob(sha, SIZE, never)
    assert caught.value.code == "cut-short"
    assert not store.blob(sha).exists()
    fetcher.blob(sha, SIZE, never)
    assert store.blob(sha).stat().st_size == SIZE
    assert host.served_bytes == SIZE  # what came is never fetched twice


@pytest.mark.parametrize("cut_at", [1, 1_000, 40_000, 1_000_000])
def test_a_link_that_is_cut_again_and_again_makes_progress(
    host: ToyHost, link: HttpTransport, store: Store, cut_at: int
) -> None:
    size = 3 * cut_at + 1
    data = bytes(range(251)) * (size // 251 + 1)
    sha = put(host, data[:size])
    host.faults.cut_at, host.faults.cuts = cut_at, 3
    for number in (1, 2, 3):
        with pytest.raises(TransportError) as caught:
            Fetcher(link, store).blob(sha, size, never)
        assert caught.value.code == "cut-short"
        assert store.partial(sha).stat().st_size == number * cut_at
    Fetcher(link, store).blob(sha, size, never)
    assert store.blob(sha).read_bytes() == data[:size]
    assert host.served_bytes == size


def test_what_came_is_kept_where_ranges_are_ignored_and_the_next_try_is_cut_sooner(
    host: ToyHost, link: HttpTransport, store: Store
) -> None:
    sha = put(host, bytes(range(250)) * (SIZE // 250))
    host.faults.no_ranges, host.faults.cuts = True, 1
    for cut_at in (200_000, 1_000):
        host.faults.cut_at, host.faults.cuts = cut_at, 1
        with pytest.raises(TransportError):
            Fetcher(link, store).blob(sha, SIZE, never)
        assert store.partial(sha).stat().st_size == 200_000
    Fetcher(link, store).blob(sha, SIZE, never)
    assert store.blob(sha).stat().st_size == SIZE


def test_a_host_without_ranges_is_fetched_from_the_start(host: ToyHost, link: HttpTransport, store: Store) -> None:
    sha = put(host, b"m" * SIZE)
    host.faults.cut_at, host.faults.cuts, host.faults.no_ranges = 100_000, 1, True
    fetcher = Fetcher(link, store)
    with pytest.raises(TransportError):
        fetcher.blob(sha, SIZE, never)
    fetcher.blob(sha, SIZE, never)
    assert store.blob(sha).read_bytes() == b"m" * SIZE


def test_a_tampered_blob_is_wrong_and_leaves_nothing(host: ToyHost, link: HttpTransport, store: Store) -> None:
    sha = put(host, b"m" * SIZE)
    host.faults.tamper.add(sha)
    with pytest.raises(WrongBytes) as caught:
        Fetcher(link, store).blob(sha, SIZE, never)
    assert (caught.value.code, caught.value.sha256) == ("digest-mismatch", sha)
    assert not store.blob(sha).exists()
    assert not store.partial(sha).exists()


def test_a_damaged_partial_file_is_fetched_once_more_from_the_start(
    host: ToyHost, link: HttpTransport, store: Store
) -> None:
    sha = put(host, b"m" * SIZE)
    store.partial(sha).write_bytes(b"x" * 1000)
    Fetcher(link, store).blob(sha, SIZE, never)
    assert store.blob(sha).read_bytes() == b"m" * SIZE


@pytest.mark.parametrize("claimed", [SIZE + 1, SIZE - 1, 10])
def test_a_blob_of_another_length_than_its_manifest_says_is_not_taken(
    host: ToyHost, link: HttpTransport, store: Store, claimed: int
) -> None:
    sha = put(host, b"m" * SIZE)
    with pytest.raises(TransportError) as caught:
        Fetcher(link, store).blob(sha, claimed, never)
    assert caught.value.code == "intercepted"
    assert not store.partial(sha).exists()


@pytest.mark.parametrize(("status", "code"), [(503, "server-error"), (429, "server-error")])
def test_a_failing_host_is_tried_again_later(
    host: ToyHost, link: HttpTransport, store: Store, status: int, code: str
) -> None:
    sha = put(host, b"m" * SIZE)
    host.faults.status = status
    with pytest.raises(TransportError) as caught:
        Fetcher(link, store).blob(sha, SIZE, never)
    assert caught.value.code == code


def test_a_missing_blob_is_the_hosts_fault(link: HttpTransport, store: Store) -> None:
    with pytest.raises(ContractError) as caught:
        Fetcher(link, store).blob("0" * 64, 10, never)
    assert caught.value.code == "missing-blob"


def test_no_network_is_said_plainly(store: Store) -> None:
    link = HttpTransport("http://127.0.0.1:9", "t", "pi-1", timeout_s=1)
    with pytest.raises(TransportError, match="cannot be reached") as caught:
        Fetcher(link, store).blob("0" * 64, 10, never)
    assert caught.value.code == "unreachable"


def test_a_newer_assignment_ends_a_fetch(host: ToyHost, link: HttpTransport, store: Store) -> None:
    sha = put(host, b"m" * SIZE)
    with pytest.raises(Superseded):
        Fetcher(link, store).blob(sha, SIZE, lambda: True)


def test_too_little_space_is_known_before_the_first_byte(host: ToyHost, link: HttpTransport, store: Store) -> None:
    wanted = host.publish("1", ToyModelFile(), padding=10_000)
    fetcher = Fetcher(link, store, reserve_bytes=1 << 60)
    manifest = fetcher.manifest(wanted.artifact, wanted.manifest_bytes, never)
    before = host.served_bytes
    with pytest.raises(DeviceError) as caught:
        fetcher.files(manifest, never)
    assert caught.value.code == "disk-full"
    assert host.served_bytes == before


@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EROFS"])
def test_a_disk_that_fails_at_any_operation_keeps_no_wrong_blob(
    tmp_path: Path, host: ToyHost, link: HttpTransport, error: str
) -> None:
    sha = put(host, b"m" * SIZE)
    for number in range(1, 50):
        folder = tmp_path / str(number)
        open_store(folder)
        disk = FaultyDisk(error, number)
        store = Store(folder, disk)
        try:
            Fetcher(link, store).blob(sha, SIZE, never)
        except DeviceError as caught:
            assert caught.code == {"ENOSPC": "disk-full", "EIO": "disk-error", "EROFS": "read-only"}[error]
            assert not store.blob(sha).exists() or store.blob(sha).stat().st_size == SIZE
            Fetcher(link, open_store(folder)).blob(sha, SIZE, never)
            assert store.blob(sha).read_bytes() == b"m" * SIZE
        if disk.count < number:
            break
    else:
        pytest.fail("the fault was never past the last operation")
    assert number > 5


def test_staging_verifying_and_collecting(host: ToyHost, link: HttpTransport, store: Store) -> None:
    wanted = host.publish("1", ToyModelFile())
    other = host.publish("2", ToyModelFile(scale=2))
    for one in (wanted, other):
        fetcher = Fetcher(link, store)
        fetcher.files(fetcher.manifest(one.artifact, one.manifest_bytes, never), never)
        store.stage(one.artifact, store.verify(one.artifact))
    assert (store.folder(wanted.artifact) / "model.onnx").exists()
    store.partial("f" * 64).write_bytes(b"left over")
    store.collect([wanted.artifact])  # there are no engines where there is no TensorRT
    for one in (wanted, other):
        (store.engines / one.artifact).mkdir(parents=True)
        (store.engines / one.artifact / "x_sm87.engine").write_bytes(b"built for minutes")
    store.collect([wanted.artifact])
    assert [path.name for path in store.engines.iterdir()] == [wanted.artifact]
    assert store.is_staged(wanted.artifact)
    assert not store.is_staged(other.artifact)
    assert not store.partial("f" * 64).exists()
    store.verify(wanted.artifact)


def test_a_file_altered_on_disk_is_found_and_removed(host: ToyHost, link: HttpTransport, store: Store) -> None:
    wanted = host.publish("1", ToyModelFile())
    fetcher = Fetcher(link, store)
    manifest = fetcher.manifest(wanted.artifact, wanted.manifest_bytes, never)
    fetcher.files(manifest, never)
    store.stage(wanted.artifact, manifest)
    path = store.blob(manifest.model_file.sha256)
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(ContractError) as caught:
        store.verify(wanted.artifact)
    assert caught.value.code == "digest-mismatch"
    assert not store.is_staged(wanted.artifact)
    fetcher.files(manifest, never)
    store.verify(wanted.artifact)


def test_slots_that_want_the_same_blob_at_once_fetch_it_once(
    host: ToyHost, link: HttpTransport, store: Store
) -> None:
    sha = put(host, b"s" * SIZE)
    host.faults.delay_s = 0.05
    fetchers = [Fetcher(link, store) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(fetcher.blob, sha, SIZE, never) for fetcher in fetchers]:
            done.result()
    assert hashlib.sha256(store.blob(sha).read_bytes()).hexdigest() == sha
    assert sum(fetcher.fetched_bytes for fetcher in fetchers) == SIZE
