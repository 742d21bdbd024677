"""Addresses and headers that say something twice, by another name, or by an encoded slash: never read as another one."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelift_fleet.api.document import operations
from edgelift_fleet.intake import RESERVED
from tests.fleet.declared_answers import Declared, declared_api

pytestmark = pytest.mark.fleet


@pytest.fixture
def declared(site: Path) -> Iterator[Declared]:
    with declared_api(site) as made:
        made.api.boards.add("pi-1")
        yield made


def test_a_slip_in_a_name_is_refused_by_every_operation(declared: Declared) -> None:
    """`collect?dryrun=true` deleted what a dry run was meant for."""
    for operation in declared.operations.values():
        if operation.side == "operators" and operation.name != "meaning":
            options = {} if operation.example is None else {"content": json.dumps(operation.example)}
            answer = declared.ask(operation, f"{operation.place()}?dryrun=true", **options)
            assert (answer.status_code, answer.json()["code"]) == (400, "malformed"), operation.name
            assert "`dryrun`" in answer.json()["detail"] and answer.json()["hint"], operation.name


def test_what_is_said_twice_is_refused_but_where_a_list_is_meant(declared: Declared) -> None:
    get = declared.client.get
    for path in ("/v1/devices?limit=1&limit=2", "/v1/devices?to=all&to=all", "/v1/latency?step=60&step=60"):
        answer = get(path)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
        assert "comes 2 times" in answer.json()["detail"]
    assert get("/v1/devices?tag=demo&tag=one").status_code == 200
    body = {"json": {"set": {"a": ""}}}
    keys = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = declared.client.post("/v1/devices/pi-1/tags", headers=keys, **body)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    tag = get("/v1/devices/pi-1").headers["ETag"]
    assert get("/v1/devices/pi-1", headers=[("If-None-Match", '"x"'), ("If-None-Match", tag)]).status_code == 304
    matching = [("If-Match", '"x"'), ("If-Match", tag)]
    assert declared.client.post("/v1/devices/pi-1/tags", headers=matching, **body).status_code == 200
    assert declared.client.post("/v1/devices/pi-1/tags", headers=matching, **body).status_code == 412


def test_numbers_are_written_as_such(declared: Declared) -> None:
    """`limit=1_0` was 10, and `limit=+10`, a space in its plain form, too."""
    for text in ("1_0", "%2010", "10%20", "%2B10", "+10", "1.0", "1e1", "0x1", "%D9%A1", "%EF%BC%91", "", "10%0A"):
        answer = declared.client.get(f"/v1/devices?limit={text}")
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed"), text
        assert "a whole number" in answer.json()["detail"] and answer.json()["hint"], text
    assert declared.client.get("/v1/devices?limit=010").status_code == 200
    for text in ("1_0", "%205", "%2B5", "1e400", "nan", "0x1", "%D9%A1", ".5", "5."):
        answer = declared.client.get(f"/v1/latency?from={text}")
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed"), text


def test_a_slash_in_a_name_leads_nowhere_else(declared: Declared) -> None:
    for path in ("/v1/devices/pi-1%2Fgauges", "/v1/devices/pi-1%2fgauges", "/v1/devices/..%2Fhealth"):
        answer = declared.client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad-id"), path
    assert declared.client.post("/v1/devices/pi-1%2Fmend").status_code in (404, 405)
    assert declared.client.get("/v1%2Fdevices").status_code == 404
    device = {"Authorization": f"Bearer {declared.tokens['devices']}"}
    assert declared.client.get("/v1/devices%2Fpi-1/desired", headers=device).status_code == 404
    assert declared.client.get("/v1/devices/pi%2D1").json()["device"]["device"] == "pi-1"


def test_another_method_is_told_all_that_there_are(declared: Declared) -> None:
    for path, allowed in (
        ("/v1/devices/pi-1", "GET, HEAD"), ("/v1/devices/counts", "GET, HEAD, POST"), ("/openapi.json", "GET, HEAD"),
        ("/v1/devices/pi-1/report", "PUT"), ("/v1/releases/digits/1", "DELETE, GET, HEAD"),
    ):  # fmt: skip
        answer = declared.client.patch(path)
        assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)


def test_no_device_is_called_as_what_stands_in_its_place(declared: Declared) -> None:
    beside = {
        path.split("/")[3] for path, method, _ in operations(declared.document)
        if method == "get" and path.startswith("/v1/devices/") and path.count("/") == 3
    }  # fmt: skip
    assert beside - {"{device}"} == set(RESERVED)
    enrol = declared.operations["post_enroll"]
    for name in RESERVED:
        answer = declared.ask(enrol, content=json.dumps({**enrol.example, "device": name}))
        assert (answer.status_code, answer.json()["code"]) == (400, "bad-id")


def test_the_document_is_made_once(declared: Declared) -> None:
    first, again = (declared.client.get("/openapi.json") for _ in range(2))
    assert first.content == again.content and first.headers["ETag"] == again.headers["ETag"]
    known = declared.client.get("/openapi.json", headers={"If-None-Match": first.headers["ETag"]})
    assert (known.status_code, known.content) == (304, b"")
