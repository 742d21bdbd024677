"""Publishing over the API: files one by one, a release once they are all here; on both engines, in a folder and in S3."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from edgelift_contract import codec
from edgelift_fleet.site import create_site
from edgelift_fleet.uploads import FileUpload
from tests.fleet.conftest import Server, both_engines
from tests.fleet.in_process import Api, api_of
from tests.fleet.releases import make_release
from tests.fleet.s3 import S3
from tests.fleet.s3 import s3 as s3
from tests.fleet.s3 import s3_server as s3_server
from tests.waiting import LONG_S, until

pytestmark = pytest.mark.fleet


@pytest.fixture
def api(site: Path) -> Iterator[Api]:
    with api_of(site) as made:
        yield made


def files(folder: Path) -> dict[str, Path]:
    return {path.name: path for place in ("manifests", "blobs") for path in (folder / place).iterdir()}


def document(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "release.json").read_bytes())


def put(api: Api, path: Path, name: str = "") -> Any:
    return api.http.put(f"/v1/blobs/{name or path.name}", content=path.read_bytes())


def push(api: Api, folder: Path) -> tuple[dict[str, Any], list[list[str]]]:
    """Publish as a tool does: what the last answer is, and what each refusal found missing."""
    asked = []
    while True:
        answer = api.http.post("/v1/releases", json=document(folder))
        if answer.status_code == 200:
            return answer.json(), asked
        assert (answer.status_code, answer.json()["code"]) == (409, "blobs-wanted"), answer.text
        asked.append(answer.json()["missing"])
        assert len(asked) < 5
        for name in asked[-1]:
            assert put(api, files(folder)[name]).json()["new"]


def versions(api: Api) -> list[str]:
    return [one["version"] for one in api.get("/v1/releases")]


@both_engines
def test_a_release_comes_file_by_file(api: Api, tmp_path: Path) -> None:
    made = make_release(tmp_path / "r", "4")
    done, asked = push(api, tmp_path / "r")
    assert done == {
        "release": "digits@4", "new": True, "artifacts": 2, "size_bytes": sum(a.size_bytes for a in made.artifacts)
    }  # fmt: skip
    # Manifests first, for only they tell of the rest; goldens are here already, from other releases.
    assert sorted(asked[0]) == sorted(a.id for a in made.artifacts) and len(asked[1]) == 2
    assert versions(api) == ["4", "3", "2", "1"]
    folder = api.fleet.site.blobs
    assert all((folder / name).read_bytes() == path.read_bytes() for name, path in files(tmp_path / "r").items())
    assert not list((folder / ".uploads").iterdir())
    again, asked = push(api, tmp_path / "r")
    assert (again["new"], asked) == (False, [])
    # It is a release like others.
    api.boards.add("pi-1")
    api.boards.assignments.assign("pi-1", "digits@4")


@both_engines
def test_another_content_under_the_same_name_is_refused_before_its_files_come(api: Api, tmp_path: Path) -> None:
    make_release(tmp_path / "r", "1", salt="other")
    answer = api.http.post("/v1/releases", json=document(tmp_path / "r"))
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


def test_what_is_damaged_counts_as_missing_and_is_mended(
    api: Api, tmp_path: Path, releases: dict[str, Path]
) -> None:
    folder = releases["digits@2"]
    blob = max((folder / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    kept = api.fleet.site.blobs / blob.name
    kept.chmod(0o600)
    kept.write_bytes(b"x" * blob.stat().st_size)
    answer = api.http.post("/v1/releases", json=document(folder))
    assert answer.json()["missing"] == [blob.name]
    told = put(api, blob).json()
    assert (told["new"], told["mended"], told["size_bytes"]) == (False, True, blob.stat().st_size)
    assert push(api, folder)[0]["new"] is False and kept.read_bytes() == blob.read_bytes()
    told = put(api, blob).json()
    assert (told["new"], told["mended"]) == (False, False)


def test_what_is_not_what_its_name_says_is_never_kept(api: Api, tmp_path: Path) -> None:
    make_release(tmp_path / "r", "4")
    blob, other = sorted((tmp_path / "r" / "blobs").iterdir(), key=lambda path: path.stat().st_size)[-2:]
    answer = put(api, other, blob.name)
    assert (answer.status_code, answer.json()["code"]) == (400, "digest-mismatch")
    for name in ("x", "A" * 64, "0" * 65, "..%2Fedgelift.db"):
        assert api.http.put(f"/v1/blobs/{name}", content=b"x").status_code in (400, 404)
    folder = api.fleet.site.blobs
    assert not (folder / blob.name).exists() and not list((folder / ".uploads").iterdir())


def test_a_release_that_lies_is_refused(api: Api, tmp_path: Path) -> None:
    make_release(tmp_path / "r", "4")
    push(api, tmp_path / "r")
    for change, code in (
        ({"version": "5"}, "malformed"), ({"release_counter": 9}, "malformed"), ({"schema": 9}, "unknown-schema"),
        ({"artifacts": []}, "malformed"), ({"model": "A"}, "malformed"), ({"release_counter": 2**64}, "malformed"),
    ):  # fmt: skip
        lying = {**document(tmp_path / "r"), "version": "5", **change}
        answer = api.http.post("/v1/releases", json=lying)
        assert (answer.status_code, answer.json()["code"]) == (400, code), change
    lying = document(tmp_path / "r")
    lying |= {
        "version": "6",
        "artifacts": [{**one, "manifest_bytes": one["manifest_bytes"] + 1} for one in lying["artifacts"]],
    }
    assert api.http.post("/v1/releases", json=lying).json()["code"] == "malformed"
    assert versions(api) == ["4", "3", "2", "1"]


@both_engines
def test_two_who_publish_the_same_at_once(api: Api, tmp_path: Path) -> None:
    make_release(tmp_path / "r", "4", size_bytes=200_000)
    for path in files(tmp_path / "r").values():
        put(api, path)
    start, found = threading.Barrier(4), []

    def go() -> None:
        start.wait()
        found.append(api.http.post("/v1/releases", json=document(tmp_path / "r")).json())

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one["release"] for one in found] == ["digits@4"] * 4 and versions(api) == ["4", "3", "2", "1"]


def send_some(server: Server, name: str, size: int, some: bytes) -> socket.socket:
    """Begin an upload, and stop in its middle."""
    host, port = server.url.removeprefix("http://").split(":")
    link = socket.create_connection((host, int(port)), timeout=LONG_S)
    head = f"PUT /v1/blobs/{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.operator}\r\n"
    link.sendall(f"{head}Content-Length: {size}\r\n\r\n".encode() + some)
    return link


def test_an_upload_that_broke_off_is_begun_anew(server: Server) -> None:
    data = os.urandom(5 << 20)
    name, folder = codec.digest(data), server.site / "blobs"
    link = send_some(server, name, len(data), data[: 3 << 20])
    until(
        lambda: sum(p.stat().st_size for p in (folder / ".uploads").glob("*")) >= 2 << 20, "some of it was written"
    )
    link.close()
    until(lambda: not list((folder / ".uploads").iterdir()), "nothing of it is kept")
    # A server that is killed leaves a file; the next upload takes it away.
    link = send_some(server, name, len(data), data[: 3 << 20])
    until(lambda: list((folder / ".uploads").iterdir()), "it comes again")
    server.stop(9)
    link.close()
    assert list((folder / ".uploads").iterdir())
    server.start()
    headers = {"Authorization": f"Bearer {server.operator}"}
    answer = requests.put(f"{server.url}/v1/blobs/{name}", data=data, headers=headers, timeout=LONG_S)
    assert answer.json()["new"] and (folder / name).read_bytes() == data
    assert not list((folder / ".uploads").iterdir())


def test_a_long_blob_is_never_whole_in_memory(server: Server, tmp_path: Path) -> None:
    long = tmp_path / "long"
    with long.open("wb") as file:
        file.truncate(300 << 20)

    def peak_kib() -> int:
        text = Path(f"/proc/{server.info['pid']}/status").read_text()
        return int(text.split("VmHWM:")[1].split()[0])

    before = peak_kib()
    headers = {"Authorization": f"Bearer {server.operator}"}
    with long.open("rb") as file:
        answer = requests.put(f"{server.url}/v1/blobs/{'0' * 64}", data=file, headers=headers, timeout=LONG_S)
    assert answer.json()["code"] == "digest-mismatch"
    assert peak_kib() - before < 60 << 10


def test_a_refusal_is_heard_by_who_still_sends(server: Server, tmp_path: Path) -> None:
    """What is refused before its body is read: the caller gets the answer, and its connection goes on."""
    data = os.urandom(20 << 20)
    (tmp_path / "long").write_bytes(data)
    with requests.Session() as session:
        for name, token, status in (
            ("short", server.operator, 400), ("0" * 64, "wrong", 401), (codec.digest(data), server.operator, 200)
        ):  # fmt: skip
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"}
            with (tmp_path / "long").open("rb") as file:
                answer = session.put(
                    f"{server.url}/v1/blobs/{name}", data=file, headers=headers, timeout=LONG_S
                )  # fmt: skip
            assert answer.status_code == status, answer.text


def test_a_length_must_be_said_and_is_bounded(server: Server) -> None:
    headers = {"Authorization": f"Bearer {server.operator}"}
    url = f"{server.url}/v1/blobs/{'0' * 64}"
    answer = requests.put(url, data=iter([b"x"]), headers=headers, timeout=LONG_S)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    for length, status in ((2**41, 413), (2**40, 507)):
        with send_some(server, "0" * 64, length, b"") as link:
            assert link.recv(4096).startswith(f"HTTP/1.1 {status} ".encode())
    enrolment = {"Authorization": f"Bearer {server.token}"}
    assert requests.put(url, data=b"x", headers=enrolment, timeout=LONG_S).status_code == 401


def test_a_full_disk_keeps_nothing(tmp_path: Path) -> None:
    def limit() -> None:  # a file may not grow over 256 KB: what a full disk looks like, without filling one
        resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, 256 * 1024))

    code = """
import hashlib, pathlib, sys
from edgelift_contract.errors import DeviceError
from edgelift_fleet.uploads import FileUpload
folder, data = pathlib.Path(sys.argv[1]), bytes(400_000)
upload = FileUpload(folder, hashlib.sha256(data).hexdigest(), len(data))
try:
    upload.write(data)
except DeviceError as error:
    print(error.code)
finally:
    upload.discard()
"""
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, preexec_fn=limit, check=False
    )  # fmt: skip
    assert result.stdout == "disk-full\n", result.stderr
    assert [path.name for path in tmp_path.rglob("*")] == [".uploads"]


def test_uploads_do_not_sweep_each_other_away(tmp_path: Path) -> None:
    data = {codec.digest(body): body for body in (os.urandom(100), os.urandom(200))}
    uploads = [FileUpload(tmp_path, name, len(body)) for name, body in data.items()]
    left = tmp_path / ".uploads" / "left"
    left.write_bytes(b"of a crash")
    third = FileUpload(tmp_path, "0" * 64, 1)
    assert not left.exists()
    third.discard()
    for upload, body in zip(uploads, data.values(), strict=True):
        upload.write(body)
        assert upload.finish().new
    assert {path.name for path in tmp_path.iterdir()} == {*data, ".uploads"}
    assert all((tmp_path / name).read_bytes() == body for name, body in data.items())


def test_the_same_into_s3(tmp_path: Path, s3: S3) -> None:
    create_site(tmp_path / "site", blobs=f"s3://{s3.bucket}/blobs")
    make_release(tmp_path / "r", "4", size_bytes=9 << 20)
    with api_of(tmp_path / "site") as api:
        api.boards.db.migrate()
        done, _ = push(api, tmp_path / "r")
        assert done["new"] and versions(api) == ["4"]
        assert s3.keys() == {f"blobs/{name}": path.stat().st_size for name, path in files(tmp_path / "r").items()}
        before = s3.keys()
        blob = min((tmp_path / "r" / "blobs").iterdir())
        assert put(api, blob, "0" * 64).json()["code"] == "digest-mismatch" and s3.keys() == before
        assert not put(api, blob).json()["new"]
        assert push(api, tmp_path / "r")[0]["new"] is False
        shutil.rmtree(tmp_path / "r")
