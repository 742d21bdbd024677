"""Changes on conditions: a key makes one of two, an ETag tells whether others changed it meanwhile; on both engines."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from edgelift_fleet.api.etags import read_tags
from edgelift_fleet.conditions import KEPT_S, MAX_KEPT, Forgetting
from edgelift_fleet.db import SITE
from edgelift_fleet.tables import KeptAnswerRow
from tests.fleet.conftest import both_engines
from tests.fleet.in_process import Api, api_of

pytestmark = [pytest.mark.fleet, both_engines]

START = {"release": "digits@1", "to": "all", "waves": ["100%"]}


@pytest.fixture
def api(site: Path) -> Iterator[Api]:
    with api_of(site) as made:
        made.boards.add("pi-1", "pi-2")
        yield made


def post(api: Api, path: str, body: Any, key: str = "", match: str = "") -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return api.http.post(path, json=body, headers=headers | ({"If-Match": match} if match else {}))


def kept(api: Api) -> int:
    with api.boards.db.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(KeptAnswerRow)) or 0


def rollouts(api: Api) -> list[str]:
    return [one["id"] for one in api.get("/v1/rollouts")]


def test_what_is_asked_twice_with_one_key_is_done_once(api: Api) -> None:
    first = post(api, "/v1/rollouts", START, key="a-1")
    again = post(api, "/v1/rollouts", START, key="a-1")
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["Idempotent-Replayed"] == "true" and "Idempotent-Replayed" not in first.headers
    assert len(rollouts(api)) == 1
    # Also when all has changed since: it is the answer of then.
    cancelled = post(api, f"/v1/rollouts/{first.json()['id']}/cancel", {}, key="a-2")
    assert cancelled.json()["state"] == "cancelled"
    assert post(api, f"/v1/rollouts/{first.json()['id']}/cancel", {}, key="a-2").content == cancelled.content
    assert post(api, f"/v1/rollouts/{first.json()['id']}/cancel", {}).status_code == 409
    assert post(api, "/v1/rollouts", START, key="a-1").content == first.content
    assert post(api, "/v1/rollouts", START, key="a-3").status_code == 200 and len(rollouts(api)) == 2


def test_each_route_that_makes_something_takes_a_key(api: Api) -> None:
    for number, (path, body) in enumerate({
        "/v1/devices/pi-1/assign": {"release": "digits@1"}, "/v1/assign": {"release": "digits@1", "to": "all"},
        "/v1/devices/pi-1/tags": {"set": {"a": "b"}}, "/v1/rollouts": {**START, "release": "digits@2"},
        "/v1/releases/digits/3/retire": {"why": "old"}, "/v1/releases/digits/3/unretire": {},
    }.items()):  # fmt: skip
        first, again = (post(api, path, body, key=f"k{number}") for _ in range(2))
        assert (first.status_code, again.status_code) == (200, 200), first.text
        assert again.content == first.content and again.headers["Idempotent-Replayed"] == "true", path
    assert kept(api) == 6


def test_a_key_of_another_request_is_refused(api: Api) -> None:
    post(api, "/v1/devices/pi-1/assign", {"release": "digits@1"}, key="k")
    for path, body in (
        ("/v1/devices/pi-1/assign", {"release": "digits@2"}), ("/v1/devices/pi-2/assign", {"release": "digits@1"}),
        ("/v1/rollouts", START), ("/v1/assign", {"release": "digits@2", "to": "all"}),
    ):  # fmt: skip
        answer = post(api, path, body, key="k")
        assert (answer.status_code, answer.json()["code"]) == (422, "key-reused"), path
    assert rollouts(api) == [] and api.get("/v1/devices/pi-2")["device"]["revision"] == 0
    for key in ("a b", "x" * 256, "\t"):
        answer = post(api, "/v1/rollouts", START, key=key)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


def test_a_refusal_is_not_kept(api: Api) -> None:
    assert post(api, "/v1/rollouts", {**START, "release": "digits@9"}, key="k").status_code == 404
    assert kept(api) == 0
    assert post(api, "/v1/rollouts", START, key="k").status_code == 200


def at_once(number: int, do: Any) -> list[Any]:
    start, found = threading.Barrier(number), []

    def go(n: int) -> None:
        start.wait()
        found.append(do(n))

    threads = [threading.Thread(target=go, args=(n,)) for n in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_two_that_come_at_once_are_one(api: Api) -> None:
    for round_ in range(3):
        answers = at_once(4, lambda _, key=f"start-{round_}": post(api, "/v1/rollouts", START, key=key))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1 and len(rollouts(api)) == round_ + 1
        assert sum("Idempotent-Replayed" in answer.headers for answer in answers) == 3
        api.boards.order(rollouts(api)[0], "cancel")


def test_one_key_on_two_devices_at_once_is_taken_by_one(api: Api) -> None:
    def assign(n: int, key: str) -> Any:
        return post(api, f"/v1/devices/pi-{n + 1}/assign", {"release": "digits@1"}, key=key)

    for key in ("a", "b", "c"):
        answers = at_once(2, lambda n, key=key: assign(n, key))
        assert sorted(answer.status_code for answer in answers) == [200, 422]
        found = {name: api.get(f"/v1/devices/{name}")["device"]["slots"] for name in ("pi-1", "pi-2")}
        (name,) = [name for name, slots in found.items() if slots]
        assert api.http.delete(f"/v1/devices/{name}/slots/digits").status_code == 200


def test_answers_are_kept_for_a_day_and_no_more_than_so_many(api: Api) -> None:
    first = post(api, "/v1/devices/pi-1/assign", {"release": "digits@1"}, key="old")
    with api.boards.db.write(SITE) as session:
        session.execute(sa.update(KeptAnswerRow).values(at=time.time() - KEPT_S - 1))
    again = post(api, "/v1/devices/pi-1/assign", {"release": "digits@1"}, key="old")
    assert first.json()["changed"] and not again.json()["changed"]  # asked afresh: it is so already
    now = time.time()
    with api.boards.db.write(SITE) as session:
        row = {"request": "r", "body": "{}", "size_bytes": 2}
        session.execute(
            sa.insert(KeptAnswerRow), [{**row, "key": f"k{n}", "at": now - n / 10} for n in range(MAX_KEPT + 5)]
        )
        session.execute(sa.insert(KeptAnswerRow), [{**row, "key": "gone", "at": now - KEPT_S - 1}])
    forgetting = Forgetting(api.boards.db)
    assert forgetting.look(now) > 0 and kept(api) <= MAX_KEPT
    assert forgetting.look(now + 1) == 0
    with api.boards.db.write(SITE) as session:
        session.execute(sa.update(KeptAnswerRow).values(size_bytes=10 << 20))
    assert forgetting.look(now + 70) > 0 and 0 < kept(api) <= 6


def test_what_is_not_new_is_answered_304(api: Api) -> None:
    api.boards.assignments.assign("pi-1", "digits@1")
    started = post(api, "/v1/rollouts", {**START, "to": "id:pi-2"}).json()["id"]
    for path in (
        "/v1/devices", "/v1/devices/counts", "/v1/devices/pi-1", "/v1/releases", "/v1/releases/digits/1", "/v1/rollouts",
        f"/v1/rollouts/{started}",
    ):  # fmt: skip
        first = api.http.get(path)
        tag = first.headers["ETag"]
        again = api.http.get(path, headers={"If-None-Match": tag})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag), path
        assert again.headers.get("Total-Count") == first.headers.get("Total-Count")
        for known in (f'"other", W/{tag}', "*"):
            assert api.http.get(path, headers={"If-None-Match": known}).status_code == 304
        for other in ('"other"', "", "nonsense", tag[:-2] + '"'):
            assert api.http.get(path, headers={"If-None-Match": other}).status_code == 200
    tag = api.http.get("/v1/devices/pi-1").headers["ETag"]
    api.boards.answer("pi-1")
    assert api.http.get("/v1/devices/pi-1", headers={"If-None-Match": tag}).status_code == 200
    assert api.http.get("/v1/devices/nobody", headers={"If-None-Match": "*"}).status_code == 404


def tag_of(api: Api, path: str) -> str:
    return api.http.get(path).headers["ETag"]


def test_a_change_of_what_others_changed_meanwhile_is_refused(api: Api) -> None:
    seen = tag_of(api, "/v1/devices/pi-1")
    api.boards.say("pi-1")  # a board that speaks changes nothing that a person decides
    assert post(api, "/v1/devices/pi-1/tags", {"set": {"hall": "a"}}, match=seen).status_code == 200
    changes: list[tuple[str, Any]] = [
        ("/v1/devices/pi-1/tags", {"set": {"hall": "b"}}), ("/v1/devices/pi-1/assign", {"release": "digits@1"})
    ]  # fmt: skip
    for path, body in changes:
        answer = post(api, path, body, match=seen)
        assert (answer.status_code, answer.json()["code"]) == (412, "changed-meanwhile"), path
    assert api.get("/v1/devices/pi-1")["device"]["tags"]["hall"] == "a"
    seen = tag_of(api, "/v1/devices/pi-1")
    assert post(api, "/v1/devices/pi-1/assign", {"release": "digits@1"}, match=f'"x", {seen}').status_code == 200
    assert api.http.delete("/v1/devices/pi-1/slots/digits", headers={"If-Match": seen}).status_code == 412
    assert api.http.delete("/v1/devices/pi-1/slots/digits", headers={"If-Match": "*"}).status_code == 200
    assert post(api, "/v1/devices/nobody/tags", {"set": {"a": ""}}, match=seen).status_code == 404


def test_an_order_after_anothers_is_refused(api: Api) -> None:
    started = post(api, "/v1/rollouts", START).json()["id"]
    path = f"/v1/rollouts/{started}"
    seen = tag_of(api, path)
    assert post(api, f"{path}/pause", {}, match=seen).status_code == 200
    assert post(api, f"{path}/cancel", {}, match=seen).status_code == 412
    assert api.get(path)["state"] == "paused"
    assert post(api, f"{path}/cancel", {}, match=tag_of(api, path)).status_code == 200
    release = "/v1/releases/digits/3"
    seen = tag_of(api, release)
    assert post(api, f"{release}/retire", {}, match=seen).status_code == 200
    assert api.http.delete(release, headers={"If-Match": seen}).status_code == 412
    assert api.http.delete(release, headers={"If-Match": tag_of(api, release)}).status_code == 200


def test_headers_that_name_no_tag(api: Api) -> None:
    for header in ("", "nonsense", '"', "abc"):
        answer = post(api, "/v1/devices/pi-1/tags", {}, match=header) if header else None
        assert answer is None or (answer.status_code, answer.json()["code"]) == (400, "malformed")
    weak = "W/" + tag_of(api, "/v1/devices/pi-1")
    assert post(api, "/v1/devices/pi-1/tags", {"set": {"a": ""}}, match=weak).status_code == 412
    assert read_tags('"a-1", W/"b", "c"') == ["a-1", "c"] and read_tags("*") == ["*"] and read_tags("x") is None
