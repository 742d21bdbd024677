"""An example of any message that is answered, made from its type: what a field holds follows from its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import inspect

_AT = 1760000000.0
_DIGEST = "9f" * 32

#: field → what it holds; of lists and dicts, what one of their values is.
_BY_NAME: Mapping[str, Any] = {
    "device": "pi-1", "release": "digits@2", "model": "digits", "slot": "digits", "version": "2", "id": _DIGEST,
    "artifact": _DIGEST, "artifact_from": _DIGEST, "artifact_to": _DIGEST, "previous": _DIGEST, "sha256": _DIGEST,
    "version_from": "1", "version_to": "2", "hardware_class": "arm64-neon", "targets": "pi5", "runtime": "onnxruntime",
    "format": "onnx", "variant": "int8", "selector": "tag:demo", "to": "tag:demo", "waves": "25%", "state": "running",
    "status": "committed", "outcome": "committed", "epoch": "boot-1", "transport": "mqtt", "broker": "connected",
    "site": "barn", "schema": 1, "uses": "pi-1", "rollouts": "r1", "missing": _DIGEST,
    "agent_version": "0.1.0", "address": "10.0.0.7",
    "key": "site", "who": "operator", "reach": "25%", "transports": "mqtt", "kind": "started", "code": "", "fault": "",
}  # fmt: skip
_TIMES = re.compile(r"(^|_)(at|start|end|since|until|seen|now)\Z")
#: Deeper than this nothing is shown.
_DEEPEST = 8


def specimen(kind: Any) -> Any:
    """A value of a type, as JSON has it."""
    return _of(inspect.type_info(kind), "", 0)


def _of(info: inspect.Type, name: str, depth: int) -> Any:
    if isinstance(info, inspect.Metadata):
        return _of(info.type, name, depth)
    if isinstance(info, inspect.StructType):
        return {field.encode_name: _of(field.type, field.name, depth + 1) for field in info.fields}
    if isinstance(info, inspect.UnionType):
        return _of_union(info, name, depth)
    if isinstance(info, inspect.ListType):
        return [] if depth > _DEEPEST or info.max_length == 0 else [_of(info.item_type, name, depth + 1)]
    if isinstance(info, inspect.DictType):
        key = _of(info.key_type, "key", depth + 1)
        return {} if depth > _DEEPEST else {key: _of(info.value_type, name, depth + 1)}
    return _plain(info, name)


def _of_union(info: inspect.UnionType, name: str, depth: int) -> Any:
    kinds = [one for one in info.types if not isinstance(one, inspect.NoneType)]
    return None if depth > _DEEPEST else _of(kinds[0], name, depth)


def _plain(info: inspect.Type, name: str) -> Any:
    if isinstance(info, inspect.LiteralType):
        return info.values[0]
    if isinstance(info, inspect.BoolType):
        return False
    if isinstance(info, inspect.FloatType):
        return _AT if _TIMES.search(name) else _within(info, 1.0)
    if isinstance(info, inspect.IntType):
        return _BY_NAME[name] if isinstance(_BY_NAME.get(name), int) else int(_within(info, 1.0))
    if isinstance(info, inspect.StrType):
        return _text(info, name)
    return None


def _within(info: inspect.IntType | inspect.FloatType, value: float) -> float:
    low = info.ge if info.ge is not None else value
    high = info.le if info.le is not None else value
    return min(max(value, low), high)


def _text(info: inspect.StrType, name: str) -> str:
    known = str(_BY_NAME.get(name, "")) if not isinstance(_BY_NAME.get(name), int) else ""
    if info.pattern is None or re.match(info.pattern, known):
        return known
    fitting = (
        one
        for one in ("digits", "2", _DIGEST, "boot-1", "pi-1", "0" * 32, "b1", "root")
        if re.match(info.pattern, one)
    )
    return next(fitting, known)
