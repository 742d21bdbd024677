"""Somebody who looks at the console of a control plane in this process: pages as text and as JSON, and forms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from edgelift_fleet.api.app import make_app
from edgelift_fleet.console.app import Console
from edgelift_fleet.db import Database
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages.people import AccessRequest
from edgelift_fleet.people.roles import OWNER, Role
from edgelift_fleet.site import load_site
from tests.fleet.direct import Direct, direct


class Visitor:
    """A person with a role, in a browser without JavaScript.

    Attributes:
        fleet: what they look at.
        boards: that a test moves.
        http: their browser; follows no redirect.
    """

    def __init__(self, fleet: Fleet, boards: Direct, role: Role = "admin") -> None:
        self.fleet, self.boards = fleet, boards
        self.http = TestClient(make_app(fleet, Console), follow_redirects=False)
        self.become(role)

    def become(self, role: Role) -> None:
        """Come with another role."""
        made = self.fleet.people.make_access(AccessRequest(role=role), OWNER)
        name = "__Host-edgelift" if self.fleet.site.config.tls else "edgelift"
        self.http.headers["Cookie"] = f"{name}={made.token}"

    def page(self, path: str, status: int = 200) -> str:
        """A page as its HTML."""
        answer = self.http.get(path, headers={"Accept": "text/html"})
        assert answer.status_code == status, (answer.status_code, answer.text[:2000])
        return answer.text

    def words(self, path: str, status: int = 200) -> str:
        """A page as its words alone, with single spaces."""
        return words_of(self.page(path, status))

    def data(self, path: str) -> Any:
        """A page's data."""
        answer = self.http.get(path, headers={"Accept": "application/json"})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def send(self, path: str, **fields: str) -> Any:
        """Send a form, as a page of this site does."""
        return self.http.post(path, data=fields, headers={"Sec-Fetch-Site": "same-origin", "Accept": "text/html"})


def words_of(html: str) -> str:
    """What a page says, without its head."""
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            found.append(data)

    Reader().feed(html.partition("<body>")[2] or html)
    return re.sub(r"\s+", " ", " ".join(found)).strip()


@contextmanager
def visiting(site: Path) -> Iterator[Visitor]:
    """Somebody who looks at a site that was made, with boards that a test moves."""
    with direct(site) as boards:
        db = Database(load_site(site).database)
        try:
            yield Visitor(Fleet(load_site(site), db), boards)
        finally:
            db.close()
