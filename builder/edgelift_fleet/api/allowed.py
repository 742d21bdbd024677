"""Which methods a path takes, on either side of the API. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_METHODS = frozenset({"get", "put", "post", "delete", "patch"})


def allowed_methods(paths: Mapping[str, Iterable[str]], path: str) -> list[str]:
    """Methods in capitals, by name; none for a path that is nowhere. Where there is GET there is HEAD.

    Args:
        paths: template, as `/v1/devices/{device}` → its methods; an OpenAPI document's `paths`.
        path: that was asked for.
    """
    # A path without names in it goes before a template that it would fit, too (OpenAPI's rule).
    fitting = [paths[path]] if path in paths else [paths[one] for one in paths if _matches(one, path)]
    found = {method.upper() for methods in fitting for method in methods if method in _METHODS}
    return sorted(found | {"HEAD"} if "GET" in found else found)


def _matches(template: str, path: str) -> bool:
    parts = re.split(r"\{\w+\}", template)
    return re.fullmatch("[^/]+".join(re.escape(part) for part in parts), path) is not None
