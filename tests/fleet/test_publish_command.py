"""`edgelift publish` and `releases`: over the API of a running server, and of the site itself where none runs."""

import hashlib
import json
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgelift.sending import send_release
from edgelift_contract.errors import ContractError
from edgelift_fleet.client import Client
from edgelift_fleet.local import client_of
from edgelift_fleet.messages import BlobReply, ReleaseView
from edgelift_fleet.site import create_site, load_site
from tests.fleet.conftest import Server, both_engines, edgelift, environment
from tests.fleet.releases import make_release
from tests.fleet.test_publish import alter, lose, truncate

pytestmark = pytest.mark.fleet


def quietly(_what: str, _done: int, _all: int) -> None: ...


def published(site: Path) -> list[str]:
    listed = json.loads(edgelift("releases", "--json", "--site", site).stdout)
    return [f"{one['model']}@{one['version']}" for one in listed]


@both_engines
def test_before_any_server_and_while_one_runs(site: Path, tmp_path: Path) -> None:
    for version in "45":
        make_release(tmp_path / version, version)
    before = edgelift("publish", tmp_path / "4", "--site", site)
    assert before.returncode == 0 and "Published digits@4: 2 artifacts" in before.stdout, before.stderr
    server = Server(site, "--broker", "none").start()
    try:
        while_it_runs = edgelift("publish", tmp_path / "5", "--site", site)
        assert while_it_runs.returncode == 0 and "Published digits@5" in while_it_runs.stdout, while_it_runs.stderr
        assert published(site) == ["digits@5", "digits@4", "digits@3", "digits@2", "digits@1"]
    finally:
        server.stop()
    assert published(site) == ["digits@5", "digits@4", "digits@3", "digits@2", "digits@1"]
    first, *rest = edgelift("releases", "--limit", "2", "--site", site).stdout.splitlines()
    assert first == "5 releases." and rest[-1] == "… and 3 more: the same with --after digits@4, or with --all."


def test_to_a_control_plane_elsewhere_and_only_what_is_not_there(server: Server, tmp_path: Path) -> None:
    make_release(tmp_path / "r", "4", size_bytes=300_000)
    token = tmp_path / "token"
    token.write_text(server.operator)
    there = ("--server", server.url, "--token-file", token, "--json")
    env = {"EDGELIFT_SITE": str(tmp_path / "none"), "EDGELIFT_DATABASE": "postgresql://not.here/x"}
    largest = max((tmp_path / "r" / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    told: list[int] = []
    client = Client(server.url, server.operator)
    client.put_file(f"/v1/blobs/{largest.name}", largest, BlobReply, told.append)
    assert told[-1] == largest.stat().st_size
    files = [path for part in ("blobs", "manifests") for path in (tmp_path / "r" / part).iterdir()]
    new = [path for path in files if not (server.site / "blobs" / path.name).exists()]
    assert 0 < len(new) < len(files)
    done = edgelift("publish", tmp_path / "r", *there, env=env)
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout)
    assert first["release"] == "digits@4" and first["new"] and first["artifacts"] == 2
    assert first["sent"] == len(new) and first["sent_bytes"] == sum(path.stat().st_size for path in new)
    again = json.loads(edgelift("publish", tmp_path / "r", *there, env=env).stdout)
    assert (again["new"], again["sent"], again["mended"]) == (False, 0, 0)


def test_an_empty_file_and_one_of_another_digest(server: Server, tmp_path: Path) -> None:
    client = Client(server.url, server.operator)
    empty = tmp_path / "empty"
    empty.touch()
    digest = hashlib.sha256(b"").hexdigest()
    reply = client.put_file(f"/v1/blobs/{digest}", empty, BlobReply, lambda _: None)
    assert (reply.size_bytes, reply.new) == (0, True)
    empty.write_bytes(b"not so")
    with pytest.raises(ContractError) as refused:
        client.put_file(f"/v1/blobs/{digest}", empty, BlobReply, lambda _: None)
    assert refused.value.code == "digest-mismatch"


@pytest.mark.parametrize(
    "spoil, code", [(truncate, "size-mismatch"), (alter, "digest-mismatch"), (lose, "missing-blob")]
)
def test_of_a_wrong_release_nothing_is_sent(idle_site: Path, tmp_path: Path, spoil: object, code: str) -> None:
    make_release(tmp_path / "r", "9")
    spoil(tmp_path / "r")  # type: ignore[operator]  # a function of the other file's table
    before = {path.name for path in (idle_site / "blobs").rglob("*")}
    done = edgelift("publish", tmp_path / "r", "--site", idle_site)
    assert done.returncode == 1 and f"({code})" in done.stderr
    assert {path.name for path in (idle_site / "blobs").rglob("*")} == before


def test_a_server_that_wants_what_nobody_has_is_believed_once(idle_site: Path, tmp_path: Path) -> None:
    """A manifest that names a file of which the folder knows nothing can't be: the refusal ends it."""
    make_release(tmp_path / "r", "8")
    with client_of(load_site(idle_site)) as client:
        with pytest.MonkeyPatch.context() as way, pytest.raises(ContractError) as refused:
            way.setattr(client, "put_file", lambda *_: BlobReply("", 0, True, False))  # each is lost on the way
            send_release(client, tmp_path / "r", quietly)
        assert refused.value.code == "blobs-wanted"
        assert send_release(client, tmp_path / "r", quietly).reply.new


def test_a_server_waits_for_a_command_that_has_the_site(tmp_path: Path) -> None:
    """And a command for a server that starts: neither is refused because the other was a moment earlier."""
    site, _ = create_site(tmp_path / "site")
    make_release(tmp_path / "r", "1")
    with client_of(site) as client:
        starting = Server(site.folder, "--broker", "none")
        thread = threading.Thread(target=starting.start)
        thread.start()
        assert client.page("/v1/releases", ReleaseView).items == []
        send_release(client, tmp_path / "r", quietly)
    thread.join()
    try:
        assert published(site.folder) == ["digits@1"]
    finally:
        starting.stop()


def test_progress_is_shown_on_a_terminal(idle_site: Path, tmp_path: Path) -> None:
    make_release(tmp_path / "r", "7", size_bytes=3_000_000)
    main, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", "from edgelift.cli import main; main()", "publish", str(tmp_path / "r"),
         "--site", str(idle_site)],
        stdout=subprocess.PIPE, stderr=terminal, stdin=subprocess.DEVNULL, env={**environment(), "TERM": "xterm"},
    ) as process:  # fmt: skip
        os.close(terminal)
        seen = b""
        try:
            while piece := os.read(main, 1 << 16):
                seen += piece
        except OSError:
            pass  # the command has ended
        os.close(main)
        assert process.stdout is not None and b"Published digits@7" in process.stdout.read()
    assert process.returncode == 0 and b"MB/s" in seen
