"""Other users of the machine read nothing of a site; a site from before is shut at the next start."""

import stat
from pathlib import Path

import pytest

from edgelift_fleet.private import keep_private
from edgelift_fleet.site import load_site
from tests.fleet.conftest import Server

pytestmark = pytest.mark.fleet


def open_to_others(site: Path) -> list[str]:
    found = [site, *site.rglob("*")]
    return [str(path.relative_to(site)) for path in found if mode(path) & 0o007]


def mode(path: Path) -> int:
    """Its permissions; none for a file that a running server took away meanwhile."""
    try:
        return stat.S_IMODE(path.lstat().st_mode)
    except FileNotFoundError:
        return 0


def test_a_new_site_and_its_running_server_are_the_owners_alone(server: Server) -> None:
    inside = [name for name in open_to_others(server.site) if not name.startswith(("run/", "secrets/"))]
    assert inside == []
    assert (server.site / "edgelift.db-wal").exists()


def test_a_site_from_before_is_shut_at_the_start(site: Path) -> None:
    for path in (site, site / "blobs"):
        path.chmod(0o755)
    for path in (site / "edgelift.db", *(site / "blobs").iterdir()):
        path.chmod(0o644)
    assert "edgelift.db" in open_to_others(site)
    server = Server(site, "--broker", "none").start()
    try:
        assert open_to_others(site) == []
        assert "shut what other users could read" in server.log.read_text()
    finally:
        server.stop()
    assert keep_private(load_site(site)) == 0


def test_a_group_that_was_let_in_stays(site: Path) -> None:
    (site / "edgelift.db").chmod(0o640)
    keep_private(load_site(site))
    assert stat.S_IMODE((site / "edgelift.db").stat().st_mode) == 0o640
