"""The OpenAPI document: FastAPI draws the operators' routes, the devices' are drawn from their table, and this adds
what neither knows: each refusal with its body, the form of what stands in paths, examples, and where answers lead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from edgelift_contract.replies import MARK, MARK_VALUE
from edgelift_fleet.api.declared import CODES_KEY, declared_codes, universal
from edgelift_fleet.api.etags import digest_of, say_tags
from edgelift_fleet.api.examples import EXAMPLES
from edgelift_fleet.api.links import links_from
from edgelift_fleet.api.operators import LEAST
from edgelift_fleet.api.parameters import IN_PATH
from edgelift_fleet.api.problem_document import problem_answers
from edgelift_fleet.api.schema import answered, used_schemas
from edgelift_fleet.api.specimens import specimen
from edgelift_fleet.people.roles import ROLES

_METHODS = ("get", "put", "post", "delete", "patch")
_MARK = {MARK: {"description": "Whose word this is.", "schema": {"type": "string", "const": MARK_VALUE}}}


#: Where it is.
PLACE = "/openapi.json"


def add_document(app: FastAPI, paths: dict[str, dict[str, Any]], schemes: dict[str, Any]) -> None:
    """Have `app` give the whole document, which is made once, when somebody first asks for it.

    Args:
        app: of the operators' side.
        paths: path → method → operation, of the devices' side.
        schemes: name → security scheme, of the devices' side.
    """
    made = _Once(lambda: _document(app, paths, schemes))
    app.openapi = lambda: made.read()[0]  # type: ignore[method-assign]  # FastAPI documents this way to extend it

    async def document(_request: Request) -> Response:
        body, tag = (await run_in_threadpool(made.read))[1:]
        return Response(body, headers={"ETag": tag}, media_type="application/json")

    app.add_route(PLACE, document, methods=["GET"], include_in_schema=False)


def methods_of(routers: Iterable[APIRouter], paths: dict[str, dict[str, Any]]) -> dict[str, set[str]]:
    """Path → its methods in small letters, on both sides.

    Args:
        routers: of the operators' side.
        paths: path → method → operation, of the devices' side.
    """
    found = {path: set(item) for path, item in paths.items()} | {PLACE: {"get"}}
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute):
                found.setdefault(route.path, set()).update(method.lower() for method in route.methods or ())
    return found


class _Once:
    """The document, its bytes and their tag: made by whoever asks first, whoever else asks meanwhile waits."""

    def __init__(self, make: Callable[[], dict[str, Any]]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._made: tuple[dict[str, Any], bytes, str] | None = None

    def read(self) -> tuple[dict[str, Any], bytes, str]:
        with self._lock:
            if self._made is None:
                document = self._make()
                body = msgspec.json.encode(document)
                self._made = document, body, f'"{digest_of(body)}"'
            return self._made


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and operation, of all of them."""
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield path, method, item[method]


def _document(app: FastAPI, paths: dict[str, dict[str, Any]], schemes: dict[str, Any]) -> dict[str, Any]:
    made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    ours = made.setdefault("paths", {})
    made["paths"] = {path: {**paths.get(path, {}), **ours.get(path, {})} for path in {**paths, **ours}}
    components = made.setdefault("components", {})
    shared = components.setdefault("responses", {})
    for _, method, operation in operations(made):
        operators = operation["tags"] != ["devices"]
        if operators and method == "get":
            say_tags(operation)
        _complete(operation, shared, operators=operators)
    components["schemas"] = {**_without_fastapis(components.get("schemas", {})), **used_schemas()}
    shown = {name: specimen(kind) for name, kind in answered().items()} | dict(EXAMPLES)
    for name, example in shown.items():
        if name in components["schemas"]:
            components["schemas"][name]["examples"] = [example]
    components.setdefault("securitySchemes", {}).update(schemes)
    return made


def _without_fastapis(schemas: dict[str, Any]) -> dict[str, Any]:
    """FastAPI's own words for what we answer with a `Problem`."""
    return {
        name: schema for name, schema in schemas.items() if name not in ("HTTPValidationError", "ValidationError")
    }


def _complete(operation: dict[str, Any], shared: dict[str, Any], *, operators: bool) -> None:
    """Say what is missing of an operation; refusals are `shared` with those that have the same."""
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path" and parameter["name"] in IN_PATH:
            parameter.update(IN_PATH[parameter["name"]])
    body = operation.get("requestBody")
    own = {s: r for s, r in operation["responses"].items() if "HTTPValidationError" not in str(r)}
    codes = declared_codes(own)
    parameters = bool(operation.get("parameters"))
    if operation.get("security"):
        codes |= universal(operators=operators, body=body is not None, parameters=parameters)
    if operation.get(LEAST) == ROLES[0]:
        codes -= {"role-too-low"}
    done = {s: r for s, r in own.items() if CODES_KEY not in r}
    for response in done.values():
        content = response.get("content", {})
        if len(content) > 1 and not content.get("application/json", {}).get("schema", True):
            del content["application/json"]  # FastAPI's guess, where a route says another form
    refused = problem_answers(codes, operators=operators, parameters=parameters)
    for response in (*done.values(), *refused.values()):
        response["headers"] = {**_MARK, **response.get("headers", {})}
    if links := links_from(operation["operationId"]):
        done["200"]["links"] = links
    operation["responses"] = {**done, **{s: _shared(s, one, shared, operators) for s, one in refused.items()}}


def _shared(status: str, response: dict[str, Any], shared: dict[str, Any], operators: bool) -> dict[str, Any]:
    name = "-".join(["operators" if operators else "devices", status, *response[CODES_KEY]])
    shared[name] = response
    return {"$ref": f"#/components/responses/{name}"}
