"""The document says all: each operation's every answer, its forms, bounds, examples and where it leads."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import fastapi
import jsonschema_rs
import msgspec
import pytest

from edgelift_contract.errors import CODES
from edgelift_fleet.api.app import make_app
from edgelift_fleet.api.declared import CODES_KEY, status_of_code
from edgelift_fleet.api.document import operations
from edgelift_fleet.api.examples import EXAMPLES
from edgelift_fleet.api.links import linked
from edgelift_fleet.db import Database
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.site import create_site
from tests.fleet.conftest import ROOT

pytestmark = pytest.mark.fleet


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    site, _ = create_site(tmp_path_factory.mktemp("document") / "site")
    with closing(Database(site.database)) as db:
        app: Any = make_app(Fleet(site, db))
        while not isinstance(app, fastapi.FastAPI):
            app = getattr(app, "_app", None) or app._rest
        yield app.openapi()


def answers(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Status → response, without references."""
    shared = document["components"]["responses"]
    return {
        status: shared[one["$ref"].rpartition("/")[2]] if "$ref" in one else one
        for status, one in operation["responses"].items()
    }


def validator(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    return jsonschema_rs.validator_for({**schema, "components": document["components"]})


def test_every_operation_says_all_of_itself(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    names = []
    for path, method, operation in operations(document):
        where = f"{method} {path}"
        names.append(operation["operationId"])
        assert operation["description"] and operation["summary"] and operation["tags"], where
        given = answers(document, operation)
        assert {"200", "500"} <= set(given), where
        if "security" in operation:
            assert {"401", "503", "507"} <= set(given), where
            assert operation["security"] in ([{"enrolment-token": []}], [{"operator-token": []}]), where
        else:
            assert path in ("/v1/errors/{code}", "/v1/authority", "/v1/login"), f"{where} lets everybody in"
        if "requestBody" in operation:
            assert {"400", "413"} <= set(given), where
        for status, answer in given.items():
            assert answer["description"] and "Edgelift" in answer["headers"], (where, status)
            empty = status in ("304", "416")
            assert empty or all(one["schema"] for one in answer["content"].values()), (where, status)
    assert len(set(names)) == len(names), "operation ids are the handlers' names: give yours another"


def test_every_refusal_has_one_status_and_an_example_that_fits(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        for status, answer in answers(document, operation).items():
            if CODES_KEY not in answer:
                assert int(status) in (200, 206, 304, 416), (method, path, status)
                continue
            ((media, content),) = answer["content"].items()
            assert media == (
                "application/json" if operation["tags"] == ["devices"] else "application/problem+json"
            )
            for code in answer[CODES_KEY]:
                assert code in CODES
                assert int(status) == status_of_code(code) or (status, code) in (
                    ("429", "busy"),
                    ("431", "too-large"),
                )
                validator(document, content["schema"]).validate(content["examples"][code]["value"])


def test_what_stands_in_paths_and_queries_has_its_bounds(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        named = [one for one in operation.get("parameters", ()) if one["in"] == "path"]
        assert sorted(one["name"] for one in named) == sorted(
            part[1:-1] for part in path.split("/") if part.startswith("{")
        )
        for parameter in operation.get("parameters", ()):
            schema = parameter["schema"]
            if parameter["in"] == "header":
                continue  # all of a request's headers together have a bound
            for one in schema.get("anyOf", [schema]):
                where = f"{method} {path}: {parameter['name']} {one}: see api/parameters.py"
                assert one.get("type") != "string" or {"maxLength", "pattern", "enum", "const"} & set(one), where
                if one.get("type") in ("integer", "number") and parameter["name"] != "wait_s":
                    assert {"minimum", "exclusiveMinimum"} & set(one) and "maximum" in one, where
            if parameter["in"] == "path" and "example" in parameter:
                validator(document, schema).validate(parameter["example"])


def test_every_body_that_is_sent_has_an_example_that_can_be_read(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        for media, content in operation.get("requestBody", {}).get("content", {}).items():
            if media != "application/json":
                continue
            name = content["schema"]["$ref"].rpartition("/")[2]
            assert name in EXAMPLES, f"{method} {path}: give an example of {name} in api/examples.py"
            validator(document, content["schema"]).validate(EXAMPLES[name])


def test_every_message_that_is_answered_has_an_example(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        for status, answer in answers(document, operation).items():
            for content in answer.get("content", {}).values() if CODES_KEY not in answer else ():
                schema = content["schema"].get("items", content["schema"])
                if "$ref" not in schema:
                    continue
                name = schema["$ref"].rpartition("/")[2]
                (example,) = document["components"]["schemas"][name]["examples"]
                assert example, (method, path, status)
                validator(document, {"$ref": schema["$ref"]}).validate(example)


def unbounded(document: dict[str, Any], schema: dict[str, Any], seen: set[str], path: str) -> Iterator[str]:
    """The places within a schema that could be as large as anyone likes."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name not in seen:
            seen.add(name)
            yield from unbounded(document, document["components"]["schemas"][name], seen, name)
        return
    for one in schema.get("anyOf", ()):
        yield from unbounded(document, one, seen, path)
    kind = schema.get("type")
    if {"enum", "const"} & set(schema):
        return
    if kind == "string" and not {"maxLength", "pattern"} & set(schema):
        yield f"{path}: text"
    if kind in ("integer", "number") and not (
        {"minimum", "exclusiveMinimum"} & set(schema) and {"maximum", "exclusiveMaximum"} & set(schema)
    ):
        yield f"{path}: a number"
    if kind == "array":
        if "maxItems" not in schema:
            yield f"{path}: a list"
        yield from unbounded(document, schema.get("items") or {}, seen, f"{path}[]")
    for name, one in schema.get("properties", {}).items():
        yield from unbounded(document, one, seen, f"{path}.{name}")
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        if "maxProperties" not in schema and "enum" not in schema.get("propertyNames", {}):
            yield f"{path}: a dict"
        yield from unbounded(document, more, seen, f"{path}{{}}")


def test_nothing_in_a_body_is_as_large_as_anyone_likes(document: dict[str, Any]) -> None:
    words = "Window.latency_us: a dict"  # its keys are five words, which msgspec's schema does not say
    seen: set[str] = set()
    for path, method, operation in operations(document):
        for media, content in operation.get("requestBody", {}).get("content", {}).items():
            if media != "application/json":
                continue  # a file, which is bounded in bytes
            found = set(unbounded(document, content["schema"], seen, f"{method} {path}")) - {words}
            assert not found, "give it bounds: see messages/asked.py"


def test_links_lead_to_operations(document: dict[str, Any]) -> None:
    names = {operation["operationId"]: operation for _, _, operation in operations(document)}
    assert set(linked()) <= set(names)
    for operation in names.values():
        for link in operation["responses"]["200"].get("links", {}).values():
            known = {one["name"] for one in names[link["operationId"]].get("parameters", ())}
            assert set(link["parameters"]) <= known


def test_patterns_are_of_the_dialect_that_json_schema_has(document: dict[str, Any]) -> None:
    assert r"\Z" not in msgspec.json.encode(document).decode()


def test_references_lead_somewhere(document: dict[str, Any]) -> None:
    text = msgspec.json.encode(document).decode()
    for part in text.split('"#/components/')[1:]:
        kind, _, name = part.partition('"')[0].partition("/")
        assert name in document["components"][kind], name


def test_the_document_is_what_a_site_answers(document: dict[str, Any], tmp_path: Path) -> None:
    from starlette.testclient import TestClient

    site, _ = create_site(tmp_path / "site")
    with closing(Database(site.database)) as db:
        found = TestClient(make_app(Fleet(site, db))).get("/openapi.json")
    assert found.json() == document


def test_every_operation_is_on_the_page(document: dict[str, Any]) -> None:
    """A route that only the document knows is one that no newcomer finds."""
    page = re.sub(r"\{\w+\}", "{}", (ROOT / "docs" / "http-api.md").read_text())
    named = set(re.findall(r"`([A-Z]+ /(?:v1/|metrics)[^`?]*)", page))
    asked = {f"{method.upper()} {re.sub(r'{.+?}', '{}', path)}" for path, method, _ in operations(document)}
    assert sorted(one for one in asked - named if not one.startswith("HEAD ")) == []


def objects(
    document: dict[str, Any], schema: dict[str, Any], seen: set[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every message that a schema is made of, with its name."""
    if (name := schema.get("$ref", "").rpartition("/")[2]) and name not in seen:
        seen.add(name)
        found = document["components"]["schemas"][name]
        yield from [(name, found)] if "properties" in found else []
        yield from objects(document, found, seen)
    for one in schema.values():
        inner = [*one.values(), one] if isinstance(one, dict) else one if isinstance(one, list) else []
        for part in inner:
            if isinstance(part, dict):
                yield from objects(document, part, seen)


def test_what_people_ask_for_has_no_field_that_nobody_knows(document: dict[str, Any]) -> None:
    """Devices, and releases that a newer builder made, may say more than this release knows."""
    asked = 0
    for path, method, operation in operations(document):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None or "devices" in operation["tags"] or path == "/v1/releases":
            continue
        for name, schema in objects(document, content["schema"], set()):
            asked += 1
            assert schema.get("additionalProperties") is False, f"{method} {path}: {name}"
    assert asked > 10
