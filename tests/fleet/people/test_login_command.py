"""`edgelift login`: from a machine that has no site, by a pin, a name and a password; kept for this user alone."""

import json
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.fleet.conftest import Server, edgelift, make_site
from tests.fleet.identity.sites import operator, secure

from edgelift.logins import Login, all_logins, folder, keep_login, plain_url
from edgelift.reach import Whereabouts, connect, read_token, whereabouts
from edgelift.signing import site_folder
from edgelift_contract.errors import ContractError, DeviceError
from edgelift_fleet.first_contact import offered_authorities
from edgelift_fleet.messages import AccessMade, AccessRequest, PersonRequest, PersonView

pytestmark = pytest.mark.fleet

PASSWORD = "a battery, and a staple"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, releases: dict[str, Path]) -> Iterator[Server]:
    site = make_site(tmp_path_factory.mktemp("login") / "site", releases)
    secure(site)
    made = Server(site, "--broker", "none").start()
    operator(made).post("/v1/people", PersonRequest("ann", "operator", PASSWORD), PersonView)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def laptop(tmp_path: Path) -> dict[str, str]:
    """Whoever works there has no site; what is kept goes into a folder of the test's."""
    (tmp_path / "password").write_text(PASSWORD + "\n")
    return {"XDG_CONFIG_HOME": str(tmp_path / "config"), "EDGELIFT_SITE": "", "HOME": str(tmp_path)}


def pin_of(server: Server) -> str:
    return next(iter(offered_authorities(server.url)))


def log_in(server: Server, laptop: dict[str, str], *more: object) -> None:
    password = Path(laptop["HOME"]) / "password"
    done = edgelift(
        "login",
        server.url,
        "--name",
        "ann",
        "--pin",
        pin_of(server),
        "--password-file",
        password,
        *more,
        env=laptop,
    )
    assert done.returncode == 0 and "as ann (operator)" in done.stdout, done.stderr


def test_commands_work_from_a_machine_without_the_site(
    server: Server, laptop: dict[str, str], tmp_path: Path
) -> None:
    log_in(server, laptop)
    kept = tmp_path / "config" / "edgelift" / "logins.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600 and PASSWORD not in kept.read_text()
    assert "digits@1" in edgelift("releases", env=laptop).stdout
    assert "digits@1" in edgelift("releases", "--server", server.url, env=laptop).stdout
    assert edgelift("token", "create", env=laptop).stdout.startswith("edgelift1.")
    refused = edgelift("user", "list", env=laptop)
    assert refused.returncode == 1 and "(role-too-low)" in refused.stderr
    (listed,) = json.loads(edgelift("login", "--json", env=laptop).stdout)
    assert (listed["url"], listed["name"], listed["role"]) == (server.url, "ann", "operator")


def test_a_logout_ends_the_token_and_forgets_it(server: Server, laptop: dict[str, str], tmp_path: Path) -> None:
    log_in(server, laptop)
    kept = tmp_path / "config" / "edgelift" / "logins.json"
    (before,) = json.loads(kept.read_text())["logins"]
    assert edgelift("logout", env=laptop).returncode == 0
    assert not json.loads(kept.read_text())["logins"] and not list(kept.parent.glob("authority-*"))
    (tmp_path / "token").write_text(before["token"])
    env = {**laptop, "EDGELIFT_CA_FILE": str(server.site / "secrets" / "authority")}
    over = edgelift("releases", "--server", server.url, "--token-file", tmp_path / "token", env=env)
    assert over.returncode == 1 and "(not-authorised)" in over.stderr
    assert "edgelift login" in edgelift("releases", env=laptop).stderr


def test_an_access_token_stands_for_name_and_password(
    server: Server, laptop: dict[str, str], tmp_path: Path
) -> None:
    made = operator(server).post("/v1/access-tokens", AccessRequest("viewer"), AccessMade)
    (tmp_path / "token").write_text(made.token)
    done = edgelift("login", server.url, "--pin", pin_of(server), "--token-file", tmp_path / "token", env=laptop)
    assert done.returncode == 0 and "(viewer)" in done.stdout, done.stderr
    assert "digits@1" in edgelift("releases", env=laptop).stdout


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), "malformed"),  # nobody is there who could compare the pin
        (("--pin", "00" * 32), "tls-failed"),
        (("--name", "ann", "--pin", "{pin}", "--password-file", "{wrong}"), "not-authorised"),
        (("--pin", "{pin}", "--token-file", "{wrong}"), "not-authorised"),
        (("--pin", "{pin}", "--name", "ann", "--password-file", "{none}"), "not-found"),
        (("--ca-file", "{wrong}", "--name", "ann"), "tls-failed"),
    ],
)
def test_what_is_not_right_logs_nobody_in(
    server: Server, laptop: dict[str, str], tmp_path: Path, words: tuple[str, ...], code: str
) -> None:
    (tmp_path / "wrong").write_text("not the right one\n")
    named = {"pin": pin_of(server), "wrong": tmp_path / "wrong", "none": tmp_path / "none"}
    done = edgelift("login", server.url, *(word.format(**named) for word in words), env=laptop)
    assert done.returncode == 1 and f"({code})" in done.stderr, done.stderr
    assert not (tmp_path / "config" / "edgelift" / "logins.json").exists()


def test_a_password_is_not_sent_in_the_clear(laptop: dict[str, str]) -> None:
    done = edgelift("login", "http://127.0.0.1:9", "--name", "ann", env=laptop)
    assert done.returncode == 1 and "speaks no TLS" in done.stderr


def test_a_control_plane_has_one_url() -> None:
    for url in ("https://hall.example:8470", "HTTPS://Hall.Example:8470/", "https://hall.example:8470//"):
        assert plain_url(url) == "https://hall.example:8470"
    assert plain_url("http://[::1]:8470/Fleet/") == "http://[::1]:8470/Fleet"
    for url in ("", "https://", "hall:8470", "ftp://hall", "https://hall:99999", "https://[::1"):
        with pytest.raises(ContractError, match="is no URL"):
            plain_url(url)
    for url in (
        "https://ann:secret@hall:8470",
        "https://ann@hall",
        "https://hall/?token=secret",
        "https://hall/#",
    ):
        with pytest.raises(ContractError, match="holds more than where") as refused:
            plain_url(url)
        assert "secret" not in str(refused.value)


def test_logins_that_end_at_once_are_all_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    urls = [f"https://hall-{number}" for number in range(8)]
    with ThreadPoolExecutor(len(urls)) as pool:
        for done in [pool.submit(keep_login, Login(url, "token")) for url in urls]:
            done.result()
    assert sorted(one.url for one in all_logins()) == urls


def test_logins_that_others_may_read_are_refused(server: Server, laptop: dict[str, str], tmp_path: Path) -> None:
    log_in(server, laptop)
    (tmp_path / "config" / "edgelift" / "logins.json").chmod(0o644)
    done = edgelift("releases", env=laptop)
    assert done.returncode == 1 and "(bad-config)" in done.stderr and "chmod 600" in done.stderr


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def too_long(path: Path) -> None:
    path.touch(0o600)
    os.truncate(path, 1 << 32)


BROKEN = {
    "damaged": lambda path: path.write_text("{"), "a FIFO": os.mkfifo, "a folder": Path.mkdir, "a link": a_link_to_itself,
    "a device": lambda path: path.symlink_to("/dev/zero"), "too long": too_long,
}  # fmt: skip


@pytest.mark.parametrize("how", BROKEN)
def test_logins_that_cannot_be_read_stop_what_needs_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("EDGELIFT_SITE", "EDGELIFT_SERVER", "EDGELIFT_TOKEN", "EDGELIFT_TOKEN_FILE", "EDGELIFT_CA_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    folder().mkdir(parents=True, mode=0o700)
    BROKEN[how](folder() / "logins.json")
    (tmp_path / "token").write_text("x.y")
    for act in (all_logins, whereabouts, lambda: connect(Whereabouts(server="https://hall:1"))):
        with pytest.raises(DeviceError) as refused:
            act()
        assert refused.value.code == "bad-config" and "log in anew" in refused.value.hint
    for server in ("http://hall:1", "HTTPS://Hall:1"):  # who names a token needs no login
        connect(Whereabouts(server=server, token_file=tmp_path / "token"))
    assert site_folder(None) is None


def test_who_names_server_and_token_is_served_whatever_the_logins_are(
    server: Server, laptop: dict[str, str], tmp_path: Path
) -> None:
    kept = tmp_path / "config" / "edgelift" / "logins.json"
    kept.parent.mkdir(parents=True)
    os.mkfifo(kept, 0o600)
    words = (
        "--server",
        server.url.replace("https", "HTTPS"),
        "--token-file",
        server.site / "secrets/operator-token",
    )
    env = {**laptop, "EDGELIFT_CA_FILE": str(server.site / "secrets" / "authority")}
    done = edgelift("releases", *words, env=env)
    assert done.returncode == 0 and "digits@1" in done.stdout and not done.stderr, done.stderr
    done = edgelift("releases", *words, env=laptop)  # who vouches for it stands in the logins, if anywhere
    assert done.returncode == 1 and "(tls-failed)" in done.stderr and "left aside" in done.stderr, done.stderr


def test_a_token_file_has_an_end(tmp_path: Path) -> None:
    (tmp_path / "token").symlink_to("/dev/zero")
    with pytest.raises(DeviceError, match="more than") as refused:
        read_token(tmp_path / "token")
    assert refused.value.code == "bad-config"
