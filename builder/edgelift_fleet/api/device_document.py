"""The devices' side in the OpenAPI document: drawn from the routes' table, in the form that FastAPI gives the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from edgelift_contract.bundle import BUNDLE_HEADER
from edgelift_fleet.api.device_routes import DeviceRoute
from edgelift_fleet.api.parameters import IN_PATH
from edgelift_fleet.api.schema import answers, takes

SCHEME = "enrolment-token"
SCHEMES = {SCHEME: {"type": "http", "scheme": "bearer"}}

_WAIT = {
    "name": "wait_s", "in": "query", "required": False, "description": "Seconds; more than 60 are taken as 60.",
    "schema": {"type": "number", "minimum": 0, "default": 0.0}, "example": 30,
}  # fmt: skip
_BUNDLE = {
    "name": BUNDLE_HEADER, "in": "header", "required": True, "description": "The bundle's id, as it was asked for.",
    **IN_PATH["bundle"],
}  # fmt: skip
_NO_NEWS: dict[int | str, dict[str, Any]] = {304: {"description": "No news."}}
_FILE = {
    "application/octet-stream": {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}
}
_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": _FILE},
    206: {"description": "The part of it that was asked for.", "content": _FILE},
    416: {"description": "It has no such part."},
}


def device_paths(routes: Iterable[DeviceRoute]) -> dict[str, dict[str, Any]]:
    """Path → method → operation."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return paths


def _operation(route: DeviceRoute) -> dict[str, Any]:
    names = re.findall(r"\{(\w+)\}", route.path)
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
    ]
    gives = answers(route.gives) if route.gives else dict(_BYTES)
    if route.handler is None:
        parameters.append(dict(_WAIT))
        gives |= _NO_NEWS
    given = {str(status): answer for status, answer in {**gives, **route.responses}.items()}
    words = [word for word in route.path.split("/") if word and "{" not in word]
    name = "_".join((route.method.lower(), *words[1:]))
    made: dict[str, Any] = {
        "tags": ["devices"], "summary": words[-1].title(), "description": route.about,
        "operationId": name, "parameters": parameters, "responses": given,
        **({"security": [{SCHEME: []}]} if route.guarded else {}),
    }  # fmt: skip
    if route.takes is bytes:
        parameters.append(_BUNDLE)
        return made | {
            "requestBody": {"required": True, "content": {"application/gzip": {"schema": {"type": "string"}}}}
        }
    return made | takes(route.takes) if route.takes else made
