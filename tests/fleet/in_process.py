"""The whole HTTP API over a control plane of `direct`, in this process: no socket, no thread of a server's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from edgelift_fleet.api.app import make_app
from edgelift_fleet.db import Database
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.site import load_site
from tests.fleet.direct import Direct, direct


class Api:
    """An operator who calls the API."""

    def __init__(self, fleet: Fleet, boards: Direct) -> None:
        self.fleet, self.boards = fleet, boards
        token = fleet.site.secret("operator-token")
        self.http = TestClient(make_app(fleet), headers={"Authorization": f"Bearer {token}"})

    def get(self, path: str, **params: Any) -> Any:
        """What GET answers, read."""
        answer = self.http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any, **headers: str) -> Any:
        """What POST answers, read."""
        answer = self.http.post(path, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, path: str, **params: Any) -> tuple[int, str]:
        """How a GET is refused: status and code."""
        answer = self.http.get(path, params=params)
        return answer.status_code, answer.json()["code"]

    def pages(self, path: str) -> list[list[Any]]:
        """The pages of a list from this one on, by its own links."""
        found = []
        while path:
            answer = self.http.get(path)
            assert answer.status_code == 200, answer.text
            found.append(answer.json())
            assert len(found) < 1000, "its links go round"
            path = answer.links.get("next", {}).get("url", "")
        return found


@contextmanager
def api_of(site: Path) -> Iterator[Api]:
    """The API of a site that was made, with boards that a test moves."""
    with direct(site) as boards:
        db = Database(load_site(site).database)
        try:
            yield Api(Fleet(load_site(site), db), boards)
        finally:
            db.close()
