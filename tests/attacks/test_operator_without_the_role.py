"""An operator's token without the role, against a real server: every operation that changes something, with bodies that are
right; and tokens that hold no more, or never did.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

pytest.importorskip("sqlalchemy", reason="the control plane's packages are not installed")

from tests.fleet.conftest import Server, make_site
from tests.fleet.releases import make_release

from edgelift_fleet.testing import simulated_fleet, wait_until

pytestmark = pytest.mark.fleet

_METHODS = ("post", "put", "delete", "patch")
_PASSWORD = "ten or more of them"


@dataclass
class Site:
    """A server with a board that serves `digits@1`, and people of each role.

    Attributes:
        url: of the server.
        tokens: role → a token of a login; `site` → its own.
    """

    url: str
    tokens: dict[str, str] = field(repr=False)

    def call(self, method: str, path: str, token: str, body: Any = None, **headers: str) -> requests.Response:
        return requests.request(
            method, self.url + path, headers={"Authorization": f"Bearer {token}", **headers}, timeout=60,
            data=None if body is None else json.dumps(body), allow_redirects=False,
        )  # fmt: skip

    def get(self, path: str) -> Any:
        answer = self.call("GET", path, self.tokens["site"])
        assert answer.status_code == 200, answer.text
        return answer.json()

    def serves(self) -> str:
        slots = self.get("/v1/devices/pi-1")["device"]["slots"]
        return " ".join(f"{slot['model']}@{slot['version']}" for slot in slots)

    def state(self) -> dict[str, Any]:
        """What an attack must not change."""
        board = self.get("/v1/devices/pi-1")["device"]
        told = {key: board[key] for key in ("tags", "revision", "revision_applied")}
        lists = (
            "/v1/releases",
            "/v1/rollouts",
            "/v1/people",
            "/v1/access-tokens",
            "/v1/tokens",
            "/v1/trust/image",
        )
        return {"board": told, "serves": self.serves()} | {path: self.get(path) for path in lists}

    def changing(self) -> Iterator[tuple[str, str, str, Any]]:
        """Method, path, least role and a body, of each operation that may change something."""
        document = requests.get(f"{self.url}/openapi.json", timeout=60).json()
        schemas = document["components"]["schemas"]
        for path, item in document["paths"].items():
            for method in _METHODS:
                said = item.get(method)
                if said is None or "x-least-role" not in said or "x-asks" in said:
                    continue
                names = {
                    one["name"]: one.get("example", "pause")
                    for one in said.get("parameters", ())
                    if one["in"] == "path"
                }
                content = said.get("requestBody", {}).get("content", {}).get("application/json", {})
                name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
                body = schemas[name]["examples"][0] if name else None
                yield method, path.format(**names), said["x-least-role"], body


@contextmanager
def attacked(folder: Path) -> Iterator[Site]:
    releases = {f"digits@{version}": folder / f"digits@{version}" for version in "12"}
    for name, where in releases.items():
        make_release(where, name[-1])
    server = Server(make_site(folder / "site", releases), "--broker", "none").start()
    try:
        with simulated_fleet(server.site) as fleet:
            fleet.add("pi-1")
            site = Site(server.url, {"site": server.operator})
            for role in ("viewer", "operator", "admin"):
                person = {"name": role, "role": role, "password": _PASSWORD}
                assert site.call("POST", "/v1/people", server.operator, person).status_code == 200
                made = site.call("POST", "/v1/login", "", {"name": role, "password": _PASSWORD})
                site.tokens[role] = made.json()["token"]
            assign(site, "digits@1", site.tokens["operator"])
            yield site
    finally:
        server.stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with attacked(tmp_path_factory.mktemp("without-the-role")) as made:
        yield made


def assign(site: Site, release: str, token: str) -> None:
    answer = site.call("POST", "/v1/devices/pi-1/assign", token, {"release": release})
    assert answer.status_code == 200, answer.text
    wait_until(lambda: site.serves() == release, what=f"{release} on the board")


def passes(site: Site) -> None:
    """The next honest change is made, and served."""
    assign(site, "digits@2" if site.serves() == "digits@1" else "digits@1", site.tokens["operator"])


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_what_the_role_may_not_is_refused_and_told(site: Site, role: str) -> None:
    before = site.state()
    walked = set()
    for method, path, least, body in site.changing():
        if least in ("viewer", role):
            continue
        answer = site.call(method, path, site.tokens[role], body)
        assert (answer.status_code, answer.json()["code"]) == (403, "role-too-low"), (method, path, answer.text)
        assert least in answer.json()["error"] and role in answer.json()["error"]
        walked.add((method.upper(), path))
    assert len(walked) > (25 if role == "viewer" else 8) and site.state() == before
    told = site.get(f"/v1/audit?who={role}&limit=200")
    refused = {(one["method"], one["path"]) for one in told if one["outcome"] == "role-too-low"}
    assert walked <= refused
    passes(site)


def test_no_token_by_which_it_makes_itself_more(site: Site) -> None:
    before = site.state()
    more = {"role": "admin", "person": "operator"}
    for path, body in (("/v1/access-tokens", more), ("/v1/people/operator/role", {"role": "admin"})):
        assert site.call("POST", path, site.tokens["operator"], body).json()["code"] == "role-too-low"
    assert site.state() == before
    # Even one that an admin makes for them may no more than they.
    made = site.call("POST", "/v1/access-tokens", site.tokens["admin"], more).json()
    me = site.call("GET", "/v1/me", made["token"]).json()
    assert (me["name"], me["role"]) == ("operator", "operator")
    passes(site)


@pytest.mark.parametrize("kind", ["none", "other", "enrolment", "ended", "taken-back", "shut-out"])
def test_what_is_no_token_of_an_operator_changes_nothing(site: Site, kind: str) -> None:
    token = a_token(site, kind)
    before = site.state()
    for method, path, _, body in site.changing():
        answer = site.call(method, path, token, body)
        assert (answer.status_code, answer.json()["code"]) == (401, "not-authorised"), (method, path, answer.text)
        assert token not in answer.text or not token
    assert site.state() == before
    passes(site)


def a_token(site: Site, kind: str) -> str:
    admin = site.tokens["admin"]
    if kind == "enrolment":
        return str(site.call("POST", "/v1/tokens", admin, {"uses": 1}).json()["token"])
    if kind == "ended":
        token = str(site.call("POST", "/v1/login", "", {"name": "admin", "password": _PASSWORD}).json()["token"])
        assert site.call("POST", "/v1/logout", token).status_code == 200
        return token
    if kind == "taken-back":
        made = site.call("POST", "/v1/access-tokens", admin, {"role": "admin"}).json()
        assert site.call("GET", "/v1/people", made["token"]).status_code == 200
        assert site.call("DELETE", f"/v1/access-tokens/{made['id']}", admin).status_code == 200
        return str(made["token"])
    if kind == "shut-out":
        site.call("POST", "/v1/people", admin, {"name": "leaver", "role": "admin", "password": _PASSWORD})
        token = str(site.call("POST", "/v1/login", "", {"name": "leaver", "password": _PASSWORD}).json()["token"])
        assert site.call("POST", "/v1/people/leaver/disable", admin).status_code == 200
        return token
    return "" if kind == "none" else "nobody-made-this-one-at-all-ever"


def test_passwords_are_not_guessed(site: Site) -> None:
    before = site.state()
    codes = []
    for number in range(12):
        answer = site.call("POST", "/v1/login", "", {"name": "admin", "password": f"guess number {number}"})
        codes.append(answer.json()["code"])
    assert codes[0] == "not-authorised" and "too-many-tries" in codes and site.state() == before
    # Whoever is logged in works on meanwhile.
    passes(site)
