"""What the ways of metadata's bytes refuse by themselves: names that lead elsewhere, what is no file, what never ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.simulators.file_server import FileServer
from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient.fetcher import FetcherInterface

from edgelift_agent.trust.fetchers import LOCAL, BundleFetcher, FolderFetcher, HttpFetcher


def fetched(fetcher: FetcherInterface, name: str, base: str = LOCAL) -> bytes:
    return fetcher.download_bytes(base + name, 1000)


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    folder = tmp_path / "stick"
    (folder / "image").mkdir(parents=True)
    (folder / "image" / "timestamp.json").write_bytes(b"{}")
    (tmp_path / "secret").write_bytes(b"secret")
    return folder


def test_a_file_of_the_stick(stick: Path) -> None:
    assert fetched(FolderFetcher(stick), "image/timestamp.json") == b"{}"


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "image/../../secret",
        "/etc/passwd",
        "image//timestamp.json",
        "",
        ".",
        "image/.",
        "image\0",
        "image/x",
    ],
)
def test_no_name_leads_out_of_the_stick(stick: Path, name: str) -> None:
    with pytest.raises(DownloadHTTPError):
        fetched(FolderFetcher(stick), name)


def test_no_link_is_followed_wherever_it_stands(stick: Path) -> None:
    (stick / "link.json").symlink_to("../secret")
    (stick / "inner.json").symlink_to("image/timestamp.json")
    (stick / "folder").symlink_to("image")
    (stick / "out").symlink_to("..")
    for name in ("link.json", "inner.json", "folder/timestamp.json", "out/secret"):
        with pytest.raises(DownloadError):
            fetched(FolderFetcher(stick), name)


def test_what_is_no_file_blocks_nobody(stick: Path) -> None:
    os.mkfifo(stick / "pipe.json")
    os.mknod(stick / "zero.json", 0o600 | 0o020000, os.makedev(1, 5))
    for name in ("pipe.json", "zero.json", "image"):
        with pytest.raises(DownloadError):
            fetched(FolderFetcher(stick), name)


def test_a_stick_that_was_pulled_out(stick: Path) -> None:
    fetcher = FolderFetcher(stick)
    stick.rename(stick.with_name("gone"))
    with pytest.raises(DownloadError):
        fetched(fetcher, "image/timestamp.json")


def test_more_than_is_allowed_is_not_read(stick: Path) -> None:
    (stick / "large.json").write_bytes(bytes(1001))
    with pytest.raises(DownloadError):
        fetched(FolderFetcher(stick), "large.json")
    with pytest.raises(DownloadError):
        fetched(BundleFetcher({"large.json": bytes(1001)}), "large.json")


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as server:
        yield server


def drips(handler: Any) -> None:
    """A byte now and then, for ever."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        handler.wfile.flush()
        if handler.server.__dict__.get("ended"):
            return


def silent(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.rfile.read(1)  # until the other side has enough of it


def moved(handler: Any) -> None:
    handler.send_response(302)
    handler.send_header("Location", "/elsewhere")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def cut(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b"{")
    handler.close_connection = True


@pytest.mark.parametrize("answer", [drips, silent, moved, cut])
def test_a_server_that_does_not_give_a_file_is_given_up(server: FileServer, answer: Any) -> None:
    server.odd["/x.json"] = answer
    server.files["/elsewhere"] = b"{}"
    with pytest.raises(DownloadError):
        fetched(HttpFetcher(timeout_s=0.5, whole_s=1.0), "/x.json", server.url)
    assert "/elsewhere" not in server.asked


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(DownloadError):
        fetched(HttpFetcher(timeout_s=0.5), "/x.json", "http://127.0.0.1:9")
