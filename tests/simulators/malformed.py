"""Requests that are wrong in every way we could think of, for a model with `a: FP32[-1, 3]` and `b: INT64[-1, 1]`."""

import gzip
import json
import struct
from collections.abc import Iterator
from typing import Any

A = {"name": "a", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
B = {"name": "b", "datatype": "INT64", "shape": [1, 1], "data": [1]}
GOOD = {"inputs": [A, B]}


def of_a(**changes: Any) -> bytes:
    return json.dumps({"inputs": [{**A, **changes}, B]}).encode()


def whole(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def without(name: str) -> bytes:
    return json.dumps({"inputs": [{k: v for k, v in A.items() if k != name}, B]}).encode()


def binary(size: Any, raw: bytes) -> tuple[bytes, int]:
    entry = {k: v for k, v in A.items() if k != "data"} | {"parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [entry, B]}).encode()
    return head + raw, len(head)


RAW = struct.pack("<3f", 1, 2, 3)
DEEP = b"[" * 900 + b"]" * 900

BODIES: dict[str, bytes] = {
    "nothing": b"",
    "half of JSON": whole()[:-10],
    "not JSON": b"hello",
    "a number": b"7",
    "a list": b"[]",
    "null": b"null",
    "invalid UTF-8": whole().replace(b'"a"', b'"\xff\xfe"'),
    "a byte order mark": b"\xef\xbb\xbf" + whole(),
    "two objects": whole() * 2,
    "a NUL in it": whole() + b"\0",
    "deep nesting": DEEP,
    "deeper nesting": b"[" * 200_000,
    "deep data": whole().replace(b"[1, 2, 3]", DEEP),
    "the NaN token": whole().replace(b"[1, 2, 3]", b"[NaN, 2, 3]"),
    "the Infinity token": whole().replace(b"[1, 2, 3]", b"[Infinity, 2, 3]"),
    "a number beyond any type": whole().replace(b"[1, 2, 3]", b"[1e400, 2, 3]"),
    "a number beyond its type": of_a(data=[1e39, 2, 3]),
    "no inputs": b"{}",
    "inputs as an object": whole(inputs={"a": A}),
    "inputs as a word": whole(inputs="a"),
    "an input as a word": whole(inputs=["a", "b"]),
    "an input of null": whole(inputs=[None, B]),
    "a nameless input": without("name"),
    "a name as a list": of_a(name=["a"]),
    "a name as an object": of_a(name={}),
    "an unknown input": of_a(name="z"),
    "an input missing": whole(inputs=[B]),
    "an input twice": whole(inputs=[A, A, B]),
    "another datatype": of_a(datatype="INT32"),
    "no datatype": without("datatype"),
    "a datatype as a list": of_a(datatype=["FP32"]),
    "no shape": without("shape"),
    "a shape as a word": of_a(shape="1,3"),
    "a shape of floats": of_a(shape=[1.0, 3.0]),
    "a shape of truth values": of_a(shape=[True, 3]),
    "a negative shape": of_a(shape=[-1, 3]),
    "a huge shape": of_a(shape=[10**30, 3]),
    "another rank": of_a(shape=[3]),
    "another size": of_a(shape=[1, 4], data=[1, 2, 3, 4]),
    "too little data": of_a(data=[1]),
    "too much data": of_a(data=[1] * 1000),
    "data as a word": of_a(data="123"),
    "data as an object": of_a(data={"0": 1}),
    "no data": without("data"),
    "strings as numbers": of_a(data=["1", "2", "3"]),
    "truth values as numbers": of_a(data=[True, False, True]),
    "null as a number": of_a(data=[None, 2, 3]),
    "ragged data": of_a(data=[[1, 2], [3]]),
    "floats as integers": whole(inputs=[A, {**B, "data": [1.5]}]),
    "an integer beyond its type": whole(inputs=[A, {**B, "data": [2**63]}]),
    "sizes that do not fit each other": json.dumps(
        {"inputs": [{**A, "shape": [2, 3], "data": [1] * 6}, {**B, "shape": [3, 1], "data": [1] * 3}]}
    ).encode(),
    "parameters as a list": whole(parameters=[1]),
    "parameters as a word": whole(parameters="x"),
    "an input's parameters as a list": of_a(parameters=[1]),
    "outputs as an object": whole(outputs={"name": "sum"}),
    "outputs as a word": whole(outputs="sum"),
    "an output as a word": whole(outputs=["sum"]),
    "an output's parameters as a list": whole(outputs=[{"name": "sum", "parameters": [1]}]),
    "an output's name as a list": whole(outputs=[{"name": ["sum"]}]),
    "an unknown output": whole(outputs=[{"name": "z"}]),
    "an output twice": whole(outputs=[{"name": "sum"}, {"name": "sum"}]),
    "binary_data as a word": whole(outputs=[{"name": "sum", "parameters": {"binary_data": "no"}}]),
    "classification as a word": whole(outputs=[{"name": "sum", "parameters": {"classification": "3"}}]),
    "binary_data_output as a number": whole(parameters={"binary_data_output": 1}),
    "a timeout as a word": whole(parameters={"timeout": "soon"}),
    "a negative timeout": whole(parameters={"timeout": -5}),
    "an id as a list": whole(id=[]),
}

#: Binary requests: the body, and what the header says of its JSON part's length.
BINARIES: dict[str, tuple[bytes, object]] = {
    "more binary data than there is": binary(10**6, RAW),
    "less binary data than its shape": binary(4, RAW[:4]),
    "binary data of no input": binary(12, RAW * 2),
    "a negative size": binary(-4, RAW),
    "a size as a word": binary("12", RAW),
    "a size of true": binary(True, RAW),
    "a size of float": binary(12.0, RAW),
    "a header length beyond the body": (whole(), 10**9),
    "a header length within the JSON": (whole(), 5),
    "a raw request of two inputs": (RAW, 0),
    "a header length as a word": (whole(), "many"),
    "a negative header length": (whole(), -1),
    "a header length beyond any number": (whole(), "9" * 400),
}


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def requests(path: str) -> Iterator[tuple[str, bytes]]:
    """Name and bytes on the wire of each; every one is the client's fault."""
    for name, body in BODIES.items():
        yield name, post(path, body)
    for name, (body, length) in BINARIES.items():
        yield name, post(path, body, f"Inference-Header-Content-Length: {length}")
    yield "an unknown content encoding", post(path, whole(), "Content-Encoding: br")
    yield "no gzip in gzip", post(path, whole(), "Content-Encoding: gzip")
    yield "half of gzip", post(path, gzip.compress(whole())[:-12], "Content-Encoding: gzip")
    yield "no deflate in deflate", post(path, whole(), "Content-Encoding: deflate")
    yield "two encodings", post(path, gzip.compress(whole()), "Content-Encoding: gzip, gzip")
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\n"
    yield "chunks that lie", f"{head}Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n".encode()
    yield "chunks of nothing", f"{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode()
    yield (
        "chunks and a length",
        (f"{head}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n".encode()),
    )
    yield "a length as a word", f"{head}Content-Length: many\r\n\r\n".encode()
    yield "a negative length", f"{head}Content-Length: -5\r\n\r\n".encode()
    yield "two lengths", f"{head}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello".encode()
    yield "a length beyond any limit", f"{head}Content-Length: {10**15}\r\n\r\n".encode()
    yield "a header without end", post(path, whole(), "X-Big: " + "x" * 1_000_000)[:900_000]
    yield "no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200)
    yield "another version", post(path.replace("/infer", "/versions/99/infer"), whole())
    yield "a version as a word", post(path.replace("/infer", "/versions/latest/infer"), whole())
    yield "another verb", post(path, whole()).replace(b"POST", b"PUT", 1)
