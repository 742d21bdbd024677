"""Odd values in every place of every request, one by one: no fault, and every answer is one that the document declares.

The places are taken from the document and the examples in it, so a new route or field is asked like the others.
"""

import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.fleet.conftest import both_engines
from tests.fleet.declared_answers import Declared, Operation, declared_api

pytestmark = pytest.mark.fleet

#: As they stand in JSON.
IN_BODIES = [
    "-1", "0.5", "9007199254740993", "9223372036854775807", "9223372036854775808", "-9223372036854775809",
    "18446744073709551616", "1" + "0" * 400, "1e309", "-1e309", "1e-400", "NaN", "-Infinity", "null", "true", "[]", "{}",
    '""', r'"\u0000"', r'"\ud800"', r'"\udc00\ud800"', r'"\u202eab"', '"' + "x" * 70_000 + '"', "[" * 2000 + "]" * 2000,
    '{"a":' * 900 + "1" + "}" * 900, '[["r1"]]', '"9223372036854775808"', '"2147483648%"', '"-1%"', '"tag:\\u0000"', '"all"',
]  # fmt: skip
#: As they stand in an address.
IN_ADDRESSES = [
    "", "-1", "0", "1e309", "nan", "inf", "9223372036854775807", "9223372036854775808", "18446744073709551616", "9" * 400,
    "r9223372036854775808", "r1", "r999999999", "%00", "a%00b", "%FF%FE", "%ED%A0%80", "%F0%9F%92%A9", "%E2%80%AEabc",
    "x" * 200, "..", "%2e%2e", "a%2Fb", "%25", "a+b", "A", "true", "null", "digits%402", "tag%3A%00", "%D9%A3", "r%D9%A3",
]  # fmt: skip
#: Every which value is tried: PostgreSQL's own limits are few, and their kinds are tried by each third.
STEP = {"sqlite": 1, "postgresql": 1 if "EDGELIFT_FUZZ_EXAMPLES" in os.environ else 3}
#: Whole bodies.
WHOLE = [
    b"", b" ", b"{", b"[]", b"null", b"0", b'"text"', b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"\x00", b"[" * 60_000,
    b'{"a":1,"a":2}', b'{"schema": 9223372036854775808}', b'{"schema": 1e309}', b"\x1f\x8b\x08", b"{}" * 100, b"a=b&c=d",
]  # fmt: skip


@pytest.fixture
def declared(site: Path) -> Iterator[Declared]:
    """An API with what its document's examples name: a device, and a rollout that reached it."""
    with declared_api(site) as made:
        for name in ("post_enroll", "put_devices_report", "post_devices_telemetry", "assign", "start"):
            operation = made.operations[name]
            answer = made.ask(operation, content=json.dumps(operation.example))
            assert answer.status_code == 200, (name, answer.text)
        yield made


@both_engines
def test_odd_values_in_every_field_of_every_body(declared: Declared, engine: str) -> None:
    asked = 0
    for operation in declared.operations.values():
        if operation.example is None:
            continue
        for data in islice(bodies(operation.example), None, None, STEP[engine]):
            declared.ask(operation, content=data)
            asked += 1
    assert asked > 2000 / STEP[engine]
    is_well(declared)


@both_engines
def test_odd_values_in_every_address(declared: Declared, engine: str) -> None:
    asked = 0
    for operation in declared.operations.values():
        for path in islice(addresses(operation), None, None, STEP[engine]):
            options = {"content": json.dumps(operation.example)} if operation.example is not None else {}
            answer = declared.client.request(
                operation.method, path,
                headers={"Authorization": f"Bearer {declared.tokens[operation.side]}"}, follow_redirects=False, **options,
            )  # fmt: skip
            asked += 1
            if "/.." in path or answer.status_code == 405 or "nothing at" in answer.text:
                assert answer.status_code < 500, (path, answer.text)
                continue  # it became another path
            declared.check(operation, answer)
    assert asked > 1000 / STEP[engine]
    is_well(declared)


def test_other_methods_and_forms(declared: Declared) -> None:
    for operation in declared.operations.values():
        token = {"Authorization": f"Bearer {declared.tokens[operation.side]}"}
        for method in ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "X"):
            answer = declared.client.request(method, operation.place(), headers=token)
            assert answer.status_code < 500, (operation.name, method, answer.text)
            if answer.status_code == 405:
                allowed = answer.headers["Allow"].split(", ")
                assert operation.method in allowed and method not in allowed
                assert ("GET" in allowed) == ("HEAD" in allowed)
        if operation.method == "GET":
            head = declared.client.head(operation.place(), headers=token)
            assert head.status_code == declared.ask(operation).status_code and head.content == b"", operation.name
        for form in (
            "text/xml",
            "multipart/form-data; boundary=x",
            "application/json; charset=utf-16",
            "a" * 300,
            "\\",
            ";",
        ):
            declared.ask(operation, content=b"{}", headers={"Content-Type": form})
        for accepted in ("text/html", "*/*;q=0", "application/json;q=x", ",;,", "application/*", "a" * 3000):
            declared.ask(operation, headers={"Accept": accepted})
        for coding in ("gzip", "br, gzip", "identity", ""):
            declared.ask(operation, content=b"{}", headers={"Content-Encoding": coding})
        for length in ("-1", "x", "9" * 30):
            declared.ask(operation, content=b"{}", headers={"Content-Length": length})
    is_well(declared)


def bodies(example: Any) -> Iterator[bytes]:
    """The example with something odd in each place of it, and what is no message at all."""
    yield from WHOLE
    for path in places(example):
        for text in IN_BODIES:
            yield changed(example, path, "@@").replace('"@@"', text).encode()
    whole = json.dumps(example)
    for key in ("unknown", "\\u0000", "__class__"):
        yield f'{{"{key}": 1, {whole[1:]}'.encode()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*path, key)
        yield from places(inner, (*path, key))


def changed(example: Any, path: tuple[Any, ...], value: Any) -> str:
    made = json.loads(json.dumps(example))
    at = made
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return json.dumps(made)


def addresses(operation: Operation) -> Iterator[str]:
    """Its address with something odd in each place of it."""
    for parameter in operation.parameters:
        name = parameter["name"]
        for text in IN_ADDRESSES:
            if parameter["in"] == "path":
                yield operation.path.replace(f"{{{name}}}", text).format(
                    **{
                        one["name"]: one.get("example", "pause")
                        for one in operation.parameters
                        if one["in"] == "path"
                    }
                )
            elif name != "wait_s" or not is_long(text):
                yield f"{operation.place()}?{quote(name)}={text}"


def is_long(text: str) -> bool:
    """Would a device that asks so wait?"""
    try:
        return float(text) > 0
    except ValueError:
        return False


def is_well(declared: Declared) -> None:
    """It answers as before, and nothing that was stored hurts a page."""
    for operation in declared.operations.values():
        if operation.method == "GET" and "{" not in operation.path and operation.name != "names":
            there = 404 if operation.name == "show_restored" else 200  # the site never was
            assert declared.ask(operation).status_code == there, operation.name
    assert declared.ask(declared.operations["device"]).status_code == 200
