"""`edgelift release show | retire | unretire | delete`: with a server and without one."""

import json
from pathlib import Path

import pytest

from edgelift_fleet.testing import FleetSimulator
from tests.fleet.conftest import Server, both_engines, edgelift
from tests.fleet.operating import Operator
from tests.waiting import until

pytestmark = pytest.mark.fleet


def order(site: Path, *words: str) -> tuple[int, str]:
    done = edgelift("release", *words, "--site", site)
    assert "Traceback" not in done.stderr
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@both_engines
def test_without_a_server(site: Path) -> None:
    retired = order(site, "retire", "digits@2", "--why", "it is slow")
    assert retired[0] == 0 and "retired 0 s ago (it is slow): it is given to nobody new." in retired[1]
    listed = edgelift("releases", "--retired", "--site", site).stdout
    assert listed.startswith("1 release as asked for.") and "it is slow" in listed
    assert order(site, "unretire", "digits@2")[1].endswith("serves in 0 slots.")
    deleted = order(site, "delete", "digits@2")
    assert deleted == (0, "Deleted digits@2; its files go when blobs that nothing names are collected.")
    assert order(site, "digits@2")[0] == 1 and "(not-found)" in order(site, "delete", "digits@2")[1]
    found = json.loads(edgelift("releases", "--json", "--site", site).stdout)
    assert [one["version"] for one in found] == ["3", "1"]
    assert edgelift("releases", "--retired", "--site", site).stdout == "No release as asked for.\n"


def test_what_names_a_release_is_shown_and_keeps_it(server: Server, fleet: FleetSimulator) -> None:
    fleet.add("pi-1")
    operator = Operator(server)
    operator.assign("digits@1", "pi-1")
    until(lambda: operator.versions("pi-1") == ["1"], "pi-1 serves it")
    shown = order(server.site, "digits@1")[1]
    assert "1 should run it: pi-1" in shown and "1 say that it serves: pi-1" in shown
    refused = order(server.site, "delete", "digits@1")
    assert refused[0] == 1 and "pi-1" in refused[1] and "(conflict)" in refused[1]
    assert "Nothing names it: it can be deleted." in order(server.site, "show", "digits@3")[1]
    assert order(server.site, "retire", "digits@3")[0] == 0
    done = edgelift("assign", "digits@3", "--device", "pi-1", "--site", server.site)
    assert done.returncode == 1 and "(retired)" in done.stderr
    words = "edgelift releases unretire digits@3"
    assert words in " ".join(done.stderr.split())
    assert edgelift(*words.split()[1:], "--site", server.site).returncode == 0  # the hint is true
    detail = json.loads(edgelift("release", "digits@1", "--json", "--site", server.site).stdout)
    assert detail["uses"]["assigned"] == ["pi-1"]


@pytest.mark.parametrize("name", ["digits", "@1", "digits@", "a/b@1"])
def test_what_is_no_release_is_refused(idle_site: Path, name: str) -> None:
    status, said = order(idle_site, "show", name)
    assert status == 1 and "(bad-id)" in said
