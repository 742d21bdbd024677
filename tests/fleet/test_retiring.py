"""How a release ends: retired it serves on and is given to nobody new; deleted only when nothing names it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from edgelift_fleet.db import SITE
from edgelift_fleet.tables import AssignmentRow
from tests.fleet.conftest import both_engines
from tests.fleet.direct import counted
from tests.fleet.in_process import Api, api_of

pytestmark = [pytest.mark.fleet, both_engines]


@pytest.fixture
def api(site: Path) -> Iterator[Api]:
    with api_of(site) as made:
        yield made


def delete(api: Api, version: str) -> tuple[int, Any]:
    answer = api.http.delete(f"/v1/releases/digits/{version}")
    return answer.status_code, answer.json()


def uses(api: Api, version: str) -> dict[str, list[str]]:
    found = api.get(f"/v1/releases/digits/{version}")["uses"]
    counts = found.pop("counts")
    assert counts == {kind: len(names) for kind, names in found.items() if names}
    return {kind: names for kind, names in found.items() if names}


def settle(api: Api, rollout: str, *names: str) -> None:
    """Let a rollout end that its boards answer."""
    for _ in range(6):
        api.boards.look()
        api.boards.answer(*names)


def test_what_nothing_names_is_deleted_and_its_files_wait_to_be_collected(api: Api) -> None:
    status, was = delete(api, "3")
    assert (status, was["version"]) == (200, "3")
    assert [one["version"] for one in api.get("/v1/releases")] == ["2", "1"]
    assert delete(api, "3")[0] == 404 and api.refused("/v1/releases/digits/3") == (404, "not-found")
    assert all((api.fleet.site.blobs / one["id"]).is_file() for one in was["artifacts"])
    assert api.refused("/v1/releases", after="digits@3") == (400, "bad-id")


def test_a_release_that_is_assigned_or_serves_is_not_deleted(api: Api) -> None:
    api.boards.add("pi-1", "pi-2", "pi-3")
    for name in ("pi-1", "pi-2"):
        api.boards.assignments.assign(name, "digits@1")
    assert uses(api, "1") == {"assigned": ["pi-1", "pi-2"]}
    api.boards.answer("pi-1")
    status, refusal = delete(api, "1")
    assert (status, refusal["code"]) == (409, "conflict")
    assert refusal["error"] == (
        "digits@1 can't be deleted: it is assigned to 2 devices (pi-1, pi-2); it serves on 1 device (pi-1)."
    )
    assert refusal["uses"]["assigned"] == ["pi-1", "pi-2"] and refusal["uses"]["serving"] == ["pi-1"]
    for name in ("pi-1", "pi-2"):
        api.boards.assignments.assign(name, "digits@2")
    assert uses(api, "1") == {"serving": ["pi-1"]} and delete(api, "1")[0] == 409
    api.boards.answer("pi-1")
    assert uses(api, "1") == {} and delete(api, "1")[0] == 200
    # An assignment that can't be read may well name it.
    with api.boards.db.write(SITE) as session:
        broken = '{"slots":{"digits":{"model":"digits","version":"2"}},broken'
        session.execute(sa.update(AssignmentRow).where(AssignmentRow.device == "pi-1").values(body=broken))
    assert "pi-1" in uses(api, "2")["assigned"]


def test_a_release_that_is_rolled_out_or_gone_back_to_is_not_deleted(api: Api) -> None:
    api.boards.add("pi-1", "pi-2")
    for name in ("pi-1", "pi-2"):
        api.boards.assignments.assign(name, "digits@1")
    api.boards.answer("pi-1", "pi-2")
    started = api.boards.start("digits@2", waves="1,100%")
    assert uses(api, "2") == {"rollouts": [f"{started} (running)"]}
    settle(api, started, "pi-1", "pi-2")
    assert api.boards.show(started).state == "done"
    assert uses(api, "1") == {"going_back": [f"pi-1 ({started})", f"pi-2 ({started})"]}
    status, refusal = delete(api, "1")
    assert status == 409 and "a rollback would take back to it 2 devices" in refusal["error"]
    # pi-1 has something else by now: a rollback would leave it alone.
    api.boards.assignments.assign("pi-1", "digits@3")
    api.boards.answer("pi-1")
    assert uses(api, "1") == {"going_back": [f"pi-2 ({started})"]}
    api.boards.order(started, "rollback")
    settle(api, started, "pi-2")
    assert api.boards.versions("pi-2") == ["1"] and "assigned" in uses(api, "1")
    assert uses(api, "2") == {}


def test_a_version_within_another_is_not_taken_for_it(api: Api) -> None:
    api.boards.add("pi-1")
    api.boards.assignments.assign("pi-1", "digits@1")
    assert uses(api, "2") == {} and uses(api, "1") == {"assigned": ["pi-1"]}


def test_a_retired_release_serves_on_and_is_given_to_nobody_new(api: Api) -> None:
    api.boards.add("pi-1", "pi-2")
    api.boards.assignments.assign("pi-1", "digits@1")
    made = api.post("/v1/releases/digits/1/retire", {"why": "It is slow."})
    assert made["retired_at"] > 0 and made["retired_why"] == "It is slow."
    again = api.post("/v1/releases/digits/1/retire", {"why": "Another reason."})
    assert again == made
    assert [one["version"] for one in api.get("/v1/releases", retired="true")] == ["1"]
    assert [one["version"] for one in api.get("/v1/releases", retired="false")] == ["3", "2"]
    start = {"release": "digits@1", "to": "all", "waves": ["100%"]}
    for path, body in (
        ("/v1/devices/pi-2/assign", {"release": "digits@1"}), ("/v1/assign", {"release": "digits@1", "to": "all"}),
        ("/v1/rollouts", start), ("/v1/rollouts/preview", start),
    ):  # fmt: skip
        answer = api.http.post(path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "retired"), path
        assert "It is slow" in answer.json()["error"]
    # Who has it keeps it, and goes back to it.
    api.boards.answer("pi-1")
    assert api.boards.versions("pi-1") == ["1"]
    started = api.boards.start("digits@2", waves="100%")
    settle(api, started, "pi-1")
    assert api.boards.versions("pi-1") == ["2"]
    api.boards.order(started, "rollback")
    settle(api, started, "pi-1")
    assert api.boards.versions("pi-1") == ["1"]
    assert api.post("/v1/releases/digits/1/unretire", {})["retired_at"] == 0
    api.boards.assignments.assign("pi-2", "digits@1")


def test_a_release_that_is_under_way_is_not_retired(api: Api) -> None:
    api.boards.add("pi-1")
    started = api.boards.start("digits@1", waves="100%")
    answer = api.http.post("/v1/releases/digits/1/retire")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict") and started in answer.json()["error"]
    api.boards.order(started, "cancel")
    assert api.post("/v1/releases/digits/1/retire", {})["retired_at"] > 0


def test_names_that_are_none(api: Api) -> None:
    for path in ("digits/9", "faces/1"):
        assert api.refused(f"/v1/releases/{path}") == (404, "not-found")
    for path in ("A/1", "digits/%00", "digits/a b", "%00/1", "digits/@"):
        assert api.refused(f"/v1/releases/{path}") == (400, "bad-id"), path
        assert api.http.delete(f"/v1/releases/{path}").status_code == 400
    for body in ({"why": 1}, {"why": "x" * 3000}, {"who": "me"}, []):
        assert api.http.post("/v1/releases/digits/1/retire", json=body).status_code == 400
    api.post("/v1/releases/digits/1/retire", {"why": "a\0b"})


def test_what_names_a_release_is_asked_by_a_fixed_number_of_statements(api: Api) -> None:
    def statements() -> int:
        with counted(api.fleet.db) as ran:
            api.get("/v1/releases/digits/1")
        return len(ran)

    api.boards.add("pi-1")
    api.boards.assignments.assign("pi-1", "digits@1")
    before = statements()
    names = [f"pc-{n}" for n in range(30)]
    api.boards.add(*names)
    for name in names:
        api.boards.assignments.assign(name, "digits@1")
    assert statements() == before
