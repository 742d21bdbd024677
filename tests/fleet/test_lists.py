"""Lists over HTTP: pages, filters, orders and counts, on both engines."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from edgelift_contract.report import DeviceFacts
from edgelift_fleet.api.device_list_routes import DeviceQuery
from edgelift_fleet.db import SITE
from edgelift_fleet.messages import DeviceSearch
from edgelift_fleet.sightings import Caller
from edgelift_fleet.tables import DeviceRow, SlotStateRow, TagRow
from tests.fleet.conftest import both_engines
from tests.fleet.direct import FACTS, counted
from tests.fleet.in_process import Api, api_of

pytestmark = [pytest.mark.fleet, both_engines]
ARM = DeviceFacts("arm64-neon", ["arm64-neon"], {"onnxruntime": "1.30.0"}, board="Raspberry Pi 4")


@pytest.fixture
def api(site: Path) -> Iterator[Api]:
    with api_of(site) as made:
        yield made


def ids(found: list[dict]) -> list[str]:
    return [one["device"] for one in found]


def listed(api: Api, **params: object) -> list[str]:
    return ids(api.get("/v1/devices", **params))


def test_pages_have_everybody_once_and_say_how_many(api: Api) -> None:
    names = [f"pi-{n:02}" for n in range(25)]
    api.boards.add(*names)
    whole = api.http.get("/v1/devices")
    assert ids(whole.json()) == names and "Link" not in whole.headers and whole.headers["Total-Count"] == "25"
    pages = api.pages("/v1/devices?limit=10&tag=demo")
    assert [len(page) for page in pages] == [10, 10, 5] and [one for page in pages for one in ids(page)] == names
    exact = api.pages("/v1/devices?limit=5")
    assert [len(page) for page in exact] == [5] * 5  # no empty page at the end
    down = api.pages("/v1/devices?limit=7&sort=-id")
    assert [one for page in down for one in ids(page)] == names[::-1]
    first = api.http.get("/v1/devices?limit=3&sort=-id")
    assert (ids(first.json()), first.headers["Total-Count"]) == (["pi-24", "pi-23", "pi-22"], "25")


def test_equals_in_an_order_are_neither_lost_nor_doubled(api: Api) -> None:
    names = [f"pi-{n}" for n in range(9)]
    api.boards.add(*names[:5], facts=ARM)
    api.boards.add(*names[5:])
    with api.boards.db.write(SITE) as session:
        session.execute(sa.update(DeviceRow).values(last_seen=5.0))
    for sort in ("class", "-class", "last-seen", "-last-seen", "enrolled"):
        pages = api.pages(f"/v1/devices?limit=2&sort={sort}")
        found = [one for page in pages for one in ids(page)]
        assert sorted(found) == names and len(pages) == 5
    assert listed(api, sort="class")[:5] == names[:5] and set(listed(api, sort="-class")[:4]) == set(names[5:])


def test_filters_and_their_counts(api: Api) -> None:
    api.boards.add("pi-1", "pi-2", facts=ARM, barn="north")
    api.boards.add("pc-1", "pc-2", barn="south")
    api.boards.go("pc-2")
    api.boards.assignments.assign("pi-1", "digits@1")
    api.boards.assignments.assign("pi-2", "digits@1")
    api.boards.assignments.assign("pc-1", "digits@2")
    api.boards.answer("pi-1", "pc-1")
    api.boards.answer("pi-2", outcome="rolled-back")
    expected = {
        "class=arm64-neon": ["pi-1", "pi-2"],
        "class=arm64-*": ["pi-1", "pi-2"],
        "tag=barn": ["pc-1", "pc-2", "pi-1", "pi-2"],
        "tag=barn=south": ["pc-1", "pc-2"],
        "tag=barn=south&tag=demo&online=true": ["pc-1"],
        "release=digits@1": ["pi-1"],
        "release=digits": ["pc-1", "pi-1"],
        "failing=true": ["pi-2"],
        "failing=false": ["pc-1", "pc-2", "pi-1"],
        "online=false": ["pc-2"],
        'to=fact:board="Raspberry*" and not runs:digits': ["pi-2"],
        "to=class:arm64-* or tag:barn=south&online=true": ["pc-1", "pi-1", "pi-2"],
        "duplicate=true": [],
        "faulty=true": [],
        "class=jetson-ampere": [],
    }
    for query, devices in expected.items():
        path = f"/v1/devices?{query}"
        answer = api.http.get(path)
        assert sorted(ids(answer.json())) == devices, query
        assert answer.headers["Total-Count"] == str(len(devices)), query
        assert api.http.get(f"/v1/devices/counts?{query}").json()["total"] == len(devices), query
        assert sorted(one for page in api.pages(f"{path}&limit=1") for one in ids(page)) == devices, query
    counts = api.get("/v1/devices/counts")
    assert counts == {
        "total": 4, "online": 3, "failing": 1, "duplicates": 0, "by_class": {"arm64-neon": 2, "x86-64-avx2": 2},
        "by_release": {"digits@1": 1, "digits@2": 1}, "warnings": [],
    }  # fmt: skip
    assert api.get("/v1/devices/counts", **{"class": "arm64-neon"})["by_release"] == {"digits@1": 1}
    # Failing is about now: it is to run something else, and it does.
    api.boards.assignments.clear("pi-2", "digits")
    assert listed(api, failing="true") == []


def test_a_search_is_the_list_by_a_body(api: Api) -> None:
    names = [f"pi-{n:02}" for n in range(25)]
    api.boards.add(*names, one="")
    api.boards.add("orin", facts=ARM)
    filters: list[dict[str, Any]] = [
        {}, {"to": "tag:one"}, {"class": "arm64-*"}, {"tag": ["one"]}, {"release": "digits"}, {"failing": False},
        {"online": True, "duplicate": False, "faulty": False}, {"to": "not tag:one", "online": False},
    ]  # fmt: skip
    for asked in filters:
        query = {name: str(value).lower() if isinstance(value, bool) else value for name, value in asked.items()}
        for page in ({}, {"limit": 7}, {"limit": 3, "sort": "-id", "after": "pi-20"}):
            listed_, found = api.http.get("/v1/devices", params=query | page), search(api, asked, page)
            assert found.json() == listed_.json(), asked
            assert found.headers["Total-Count"] == listed_.headers["Total-Count"]
            assert ("Link" in found.headers) == ("Link" in listed_.headers)
        counts = api.post("/v1/devices/counts", asked)
        assert counts == api.get("/v1/devices/counts", **query)
    asked = {"to": f"ids:{','.join(names)}"}
    assert [one for page in search_pages(api, asked, {"limit": 10}) for one in ids(page)] == names


def test_a_search_takes_a_list_of_many_thousand_ids_and_is_bounded(api: Api) -> None:
    api.boards.add("pi-1", "pi-2")
    many = ",".join([f"board-{n:05}" for n in range(19_999)] + ["pi-2"])
    assert ids(search(api, {"to": f"ids:{many}"}).json()) == ["pi-2"]
    assert api.post("/v1/devices/counts", {"to": f"not ids:{many}"})["total"] == 1
    for asked, code in (
        ({"to": f"ids:{many},one-more"}, (400, "bad-id")), ({"to": "x" * 400_001}, (400, "malformed")),
        ({"to": "x" * 1_100_000}, (413, "too-large")), ({"too": "all"}, (400, "malformed")),
        ({"tag": ["a"] * 65}, (400, "malformed")), ({"failing": "yes"}, (400, "malformed")),
    ):  # fmt: skip
        answer = search(api, asked)
        assert (answer.status_code, answer.json()["code"]) == code, asked
    assert search(api, {}, {"limit": 1001}).status_code == 400


def test_what_an_address_may_ask_a_body_may(api: Api) -> None:
    fields = {field.encode_name for field in msgspec.structs.fields(DeviceSearch)}
    assert fields == {field.alias or name for name, field in DeviceQuery.model_fields.items()}
    assert api.refused("/v1/devices", zz="1") == (400, "malformed")


def search(api: Api, asked: Any, page: Any = None) -> Any:
    return api.http.post("/v1/devices/search", json=asked, params=page or {})


def search_pages(api: Api, asked: Any, page: Any) -> list[list[dict]]:
    answer = search(api, asked, page)
    found = [answer.json()]
    while path := answer.links.get("next", {}).get("url", ""):
        answer = api.http.post(path, json=asked)
        found.append(answer.json())
    return found


def test_who_was_heard_of_a_moment_ago_is_online(api: Api) -> None:
    api.boards.add("pi-1", "pi-2")
    api.boards.go("pi-1", "pi-2")
    assert listed(api, online="true") == []
    api.fleet.seen.touch("pi-2", "http")  # not written down yet
    assert listed(api, online="true") == ["pi-2"] and listed(api, online="false") == ["pi-1"]
    assert api.get("/v1/devices/counts")["online"] == 1


def test_who_is_a_duplicate_or_set_apart(api: Api) -> None:
    api.boards.add("pi-1", "pi-2", "pi-3")
    for n in range(8):
        api.fleet.seen.touch("pi-2", "http", Caller(f"epoch-{n % 2}", "10.0.0.1"))
    with api.boards.db.write(SITE) as session:
        session.execute(sa.update(DeviceRow).where(DeviceRow.id == "pi-3").values(facts="{broken"))
    assert listed(api, duplicate="true") == ["pi-2"] and listed(api, faulty="true") == ["pi-3"]
    assert listed(api, duplicate="false", faulty="false") == ["pi-1"]
    assert [bool(one["faults"]) for one in api.get("/v1/devices")] == [False, False, True]


WRONG = {
    "limit=0": "malformed", "limit=-1": "malformed", "limit=1001": "malformed", "limit=99999999999999999999": "malformed",
    "limit=x": "malformed", "limit=1.5": "malformed", "limit=": "malformed",
    "sort=password": "malformed", "sort=-": "malformed", "sort=--id": "malformed", "sort=%00": "malformed",
    "after=no%20id": "bad-id", "after=%00": "bad-id", "after=" + "x" * 200: "malformed",
    "sort=class&after=nobody": "bad-id",
    "failing=perhaps": "malformed", "online=2": "malformed", "clas=arm64-neon": "malformed",
    "class=%00": "bad-id", "class=A B": "bad-id", "tag=%00": "bad-id", "tag=a=%00": "bad-id", "tag=": "bad-id",
    "release=%00": "bad-id", "release=digits@": "bad-id", "to=tag": "bad-id", "to=tag:a%00": "bad-id",
    "to=fact:x=1": "bad-id", "&".join(["tag=a"] * 65): "malformed",
}  # fmt: skip


def test_what_makes_no_sense_is_refused_with_a_sentence(api: Api) -> None:
    for query, code in WRONG.items():
        paths = [f"/v1/devices?{query}"]
        if not query.startswith(("limit", "sort", "after")):
            paths.append(f"/v1/devices/counts?{query}")
        for path in paths:
            answer = api.http.get(path)
            assert (answer.status_code, answer.json()["code"]) == (400, code), (path, answer.text)
            assert answer.json()["error"].endswith(".")
    assert listed(api, after="nobody-of-this-name") == []  # by id nothing need be there


def test_a_page_costs_the_same_number_of_statements_whatever_the_fleet(api: Api) -> None:
    queries = [
        "limit=5", "limit=5&sort=-last-seen&after=pi-00000", "limit=5&failing=true&online=true&faulty=false&duplicate=false",
        "limit=5&to=fact:board=x or tag:hall~h*", "",
    ]  # fmt: skip

    def statements() -> list[int]:
        found = []
        for query in queries:
            with counted(api.fleet.db) as ran:
                assert api.http.get(f"/v1/devices?{query}").status_code == 200
            found.append(len(ran))
        with counted(api.fleet.db) as ran:
            api.get("/v1/devices/counts")
        return [*found, len(ran)]

    many(api, range(3))
    before = statements()
    many(api, range(3, 1500))
    assert statements() == before


def many(api: Api, numbers: range) -> None:
    """Boards as rows, quickly."""
    names, now = [f"pi-{n:05}" for n in numbers], time.time()
    facts = '{"accepts":["arm64-neon"],"hardware_class":"arm64-neon","runtimes":{"onnxruntime":"1.30.0"}}'
    with api.boards.db.write(SITE) as session:
        session.execute(sa.insert(DeviceRow), [
            {"id": name, "enrolled_at": now, "last_seen": now, "facts": facts, "hardware_class": "arm64-neon"}
            for name in names
        ])  # fmt: skip
        session.execute(sa.insert(TagRow), [
            {"device": name, "key": "hall", "value": f"h{n % 7}", "source": "device"} for n, name in enumerate(names)
        ])  # fmt: skip
        session.execute(sa.insert(SlotStateRow), [
            {"device": name, "slot": "digits", "state": "serving", "generation": 1, "artifact": "a" * 64,
             "model": "digits", "version": "1", "since": now, "last_update": ""}
            for name in names
        ])  # fmt: skip


def test_releases_in_pages(api: Api) -> None:
    def names(found: list[dict]) -> list[str]:
        return [f"{one['model']}@{one['version']}" for one in found]

    assert names(api.get("/v1/releases")) == ["digits@3", "digits@2", "digits@1"]
    pages = api.pages("/v1/releases?limit=2")
    assert [names(page) for page in pages] == [["digits@3", "digits@2"], ["digits@1"]]
    assert names(api.get("/v1/releases", sort="published", after="digits@1")) == ["digits@2", "digits@3"]
    assert sorted(names([one for page in api.pages("/v1/releases?sort=name&limit=1") for one in page])) == [
        "digits@1", "digits@2", "digits@3"
    ]  # fmt: skip
    assert api.get("/v1/releases", name="faces") == []
    for params in ({"after": "digits@9"}, {"after": "digits"}, {"name": "A\0"}):
        assert api.refused("/v1/releases", **params) == (400, "bad-id")
    assert api.refused("/v1/releases", sort="size") == (400, "malformed")


def test_rollouts_in_pages(api: Api) -> None:
    api.boards.add("pi-1")
    for n in range(4):
        started = api.boards.start(f"digits@{n % 2 + 1}", name=f'Night "{n}%"')
        if n < 3:
            api.boards.order(started, "cancel")

    def found(**params: object) -> list[str]:
        return [one["id"] for one in api.get("/v1/rollouts", **params)]

    every = found()
    assert len(every) == 4 and every == [one["id"] for page in api.pages("/v1/rollouts?limit=3") for one in page]
    assert found(state="open") == every[:1] and found(state="cancelled") == every[1:]
    assert found(sort="created", limit=2) == every[::-1][:2]
    assert sorted(one["id"] for page in api.pages("/v1/rollouts?sort=state&limit=1") for one in page) == sorted(
        every
    )
    assert found(name='Night "1%"') == [every[2]] and found(name='night "1%"') == [] and found(name="%") == []
    assert found(release="digits@1") == [every[1], every[3]] and found(name="\0") == []
    assert api.refused("/v1/rollouts", after="r99999") == (404, "not-found")
    assert api.refused("/v1/rollouts", after="7") == (404, "not-found")
    assert api.refused("/v1/rollouts", release="digits") == (400, "bad-id")
    assert api.refused("/v1/rollouts", state="\0") == (400, "malformed")


def test_a_board_of_many_names_is_listed_with_all(api: Api) -> None:
    api.boards.add("pi-1", facts=FACTS, a="1", b="", c="x y")
    (one,) = api.get("/v1/devices", limit=1)
    assert one["tags"] == {"demo": "", "a": "1", "b": "", "c": "x y"}
    assert listed(api, tag="c=x y") == ["pi-1"] and listed(api, tag=["a=1", "b="]) == ["pi-1"]
