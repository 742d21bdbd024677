"""OpenAPI for messages that msgspec defines: FastAPI draws the routes, these draw their bodies."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

#: Of every list.
LIST_HEADERS: dict[str, Any] = {
    "Total-Count": {"description": "How many there are, on all pages together.", "schema": {"type": "integer"}},
    "Link": {"description": "The next page, as rel=next; missing on the last.", "schema": {"type": "string"}},
}
_REF = "#/components/schemas/{name}"
_used: dict[str, Any] = {}


def _schema(kind: Any) -> dict[str, Any]:
    (schema,), components = msgspec.json.schema_components([kind], ref_template=_REF)
    _used.update(components)
    return schema


def takes(kind: Any) -> dict[str, Any]:
    """`openapi_extra` of a route whose body is `kind` in JSON."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": _schema(kind)}}}}


def answers(kind: Any, description: str = "Done.") -> dict[int | str, dict[str, Any]]:
    """`responses` of a route that answers `kind` in JSON."""
    return {200: {"description": description, "content": {"application/json": {"schema": _schema(kind)}}}}


def answers_list(kind: Any) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route that answers a page of `kind`."""
    made = answers(list[kind])
    made[200]["headers"] = LIST_HEADERS
    return made


def add_schemas(app: FastAPI, paths: dict[str, dict[str, Any]], schemes: dict[str, Any]) -> None:
    """Have `app`'s OpenAPI document contain the messages that its routes name, and what is answered in front of it.

    Args:
        app: of the operators' side.
        paths: path → method → operation, of the devices' side.
        schemes: name → security scheme, of the devices' side.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            components = document.setdefault("components", {})
            components.setdefault("schemas", {}).update(_used)
            components.setdefault("securitySchemes", {}).update(schemes)
            document["paths"] = {**paths, **document["paths"]}
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI documents exactly this way to extend it
