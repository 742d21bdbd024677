"""Blobs are read again on a schedule; one that the disk altered is set aside, said, and mended by publishing again."""

import json
from pathlib import Path

import pytest
import requests

from edgelift_fleet.client import Client
from edgelift_fleet.messages import ReleaseView, ServerHealth
from edgelift_fleet.scrub import ROUND_EVERY_S, Scrub, damaged_blobs
from edgelift_fleet.testing import wait_until
from tests.fleet.conftest import Server, edgelift

pytestmark = pytest.mark.fleet


def alter(site: Path) -> str:
    """Change a byte of some model of `digits@1` behind the store's back."""
    blobs = site / "blobs"
    release = {
        p.name: json.loads(p.read_bytes()) for p in blobs.iterdir() if p.is_file() and p.read_bytes()[:1] == b"{"
    }
    name = next(m["files"][0]["sha256"] for m in release.values() if m.get("version") == "1")
    path = blobs / name
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    return name


def test_an_altered_blob_is_set_aside_and_mended_by_publishing(site: Path, releases: dict[str, Path]) -> None:
    name = alter(site)
    server = Server(site, "--broker", "none").start()
    try:
        client, headers = Client(server.url, server.operator), {"Authorization": f"Bearer {server.token}"}
        blob = f"{server.url}/v1/blobs/{name}"
        wait_until(lambda: client.get("/v1/health", ServerHealth).damaged_blobs == 1, what="a damaged blob")
        answer = requests.get(blob, headers=headers, timeout=60)
        assert (answer.status_code, answer.json()["code"]) == (404, "missing-blob")
        faults = {one.version: one.fault for one in client.get("/v1/releases", list[ReleaseView])}
        assert "publish it again" in faults["1"]
        assert f"damaged blob {name}" in server.log.read_text()
        done = edgelift("publish", releases["digits@1"], "--site", site)
        assert done.returncode == 0, done.stderr
        assert requests.get(blob, headers=headers, timeout=60).status_code == 200
        assert client.get("/v1/health", ServerHealth).damaged_blobs == 0
        assert {one.fault for one in client.get("/v1/releases", list[ReleaseView])} == {""}
    finally:
        server.stop()


def test_a_round_goes_on_where_it_was_and_comes_again_when_it_is_due(site: Path, tmp_path: Path) -> None:
    scrub = Scrub(site / "blobs", tmp_path / "scrub.json", bytes_per_s=1e12)
    assert scrub.go_on(1000.0) == []
    name = alter(site)
    assert scrub.go_on(1001.0) == []  # this round is done
    (tmp_path / "scrub.json").write_text(json.dumps({"began_at": 1000.0, "after": name}))
    assert scrub.go_on(1002.0) == []  # this round has been there
    assert scrub.go_on(1000.0 + ROUND_EVERY_S) == [name]
    assert damaged_blobs(site / "blobs") == {name}
