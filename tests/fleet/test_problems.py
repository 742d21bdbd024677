"""What a server answers when it is asked for what isn't there, in another way, or by no request at all."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from edgelift_contract import codec
from edgelift_contract.errors import CODES
from edgelift_contract.replies import ErrorReply
from tests.fleet.conftest import Server
from tests.waiting import LONG_S

pytestmark = pytest.mark.fleet

PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def server(idle_site: Path) -> Iterator[Server]:
    with Server(idle_site, "--broker", "none") as made:
        yield made


def ask(server: Server, method: str, path: str, token: str = "", **headers: str) -> requests.Response:
    sent = {
        "Authorization": f"Bearer {token or server.operator}",
        **{k.replace("_", "-"): v for k, v in headers.items()},
    }
    return requests.request(method, server.url + path, headers=sent, allow_redirects=False, timeout=LONG_S)


def by_hand(server: Server, data: bytes) -> tuple[bytes, dict[str, Any]]:
    """The head and the body of what comes back for these bytes."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=LONG_S) as link:
        link.sendall(data)
        answer = b""
        while piece := link.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, json.loads(body)


def test_a_problem_says_what_an_older_reader_looks_for_and_what_the_standard_says(server: Server) -> None:
    answer = ask(server, "GET", "/v1/devices/nobody")
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, PROBLEM)
    said = answer.json()
    assert (said["code"], said["status"], said["instance"]) == ("not-found", 404, "/v1/devices/nobody")
    assert said["error"] == said["detail"] and "nobody" in said["detail"]
    meaning = requests.get(server.url + said["type"], timeout=LONG_S).json()  # as a browser, without a token
    assert meaning == {"code": "not-found", "meaning": CODES["not-found"], "status": 404}
    assert said["title"].lower().rstrip(".") == meaning["meaning"]


def test_every_code_has_a_meaning(server: Server) -> None:
    for code in CODES:
        assert requests.get(f"{server.url}/v1/errors/{code}", timeout=LONG_S).json()["meaning"] == CODES[code]


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/v1", "/v2/devices", "/v1/devices/", "/v1/devices//x/y", "/v1/rollouts/r1/", "/V1/health"],
)
def test_an_address_that_is_none_leads_nowhere(server: Server, path: str) -> None:
    answer = ask(server, "GET", path)
    assert (answer.status_code, answer.json()["code"], answer.headers["Content-Type"]) == (
        404,
        "not-found",
        PROBLEM,
    )


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/devices/pi-1", "GET, HEAD"), ("/v1/devices/pi-1/report", "PUT"), ("/v1/rollouts", "GET, HEAD, POST"),
        ("/v1/rollouts/preview", "POST"), (f"/v1/blobs/{'0' * 64}", "GET, HEAD, PUT"), ("/openapi.json", "GET, HEAD"),
    ],
)  # fmt: skip
def test_another_method_is_told_which_there_are(server: Server, path: str, allowed: str) -> None:
    answer = ask(server, "PATCH", path)
    assert (answer.status_code, answer.json()["code"]) == (405, "wrong-method")
    assert sorted(answer.headers["Allow"].split(", ")) == allowed.split(", ")


def test_head_is_get_without_its_body(server: Server, releases: dict[str, Path]) -> None:
    blob = max((releases["digits@1"] / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    for path, token in [
        ("/v1/health", ""), ("/v1/releases", ""), ("/v1/telemetry", ""), ("/v1/devices/nobody", ""), ("/openapi.json", ""),
        (f"/v1/blobs/{blob.name}", server.token), (f"/v1/blobs/{'0' * 64}", server.token),
    ]:  # fmt: skip
        head, get = ask(server, "HEAD", path, token), ask(server, "GET", path, token)
        assert (head.status_code, head.content) == (get.status_code, b""), path
        assert head.headers.get("Content-Type") == get.headers.get("Content-Type")
    assert ask(server, "HEAD", f"/v1/blobs/{blob.name}", server.token).headers["Content-Length"] == str(
        blob.stat().st_size
    )


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ("bytes=0-9", 206), ("bytes=9-0", 200), ("bytes=0-1,3-4", 200), ("bytes=a-b", 200), ("lines=0-1", 200), ("0-1", 200),
        ("bytes=-0", 416), ("bytes=99999999-", 416), ("bytes=" + "9" * 18 + "-", 416), ("bytes=" + "9" * 30 + "-", 200),
        ("bytes=0-" + "9" * 18, 206), ("bytes=", 200), ("bytes=-", 200), ("bytes=--1", 200),
    ],
)  # fmt: skip
def test_one_part_of_a_file_or_all_of_it(
    server: Server, releases: dict[str, Path], wanted: str, status: int
) -> None:
    blob = max((releases["digits@1"] / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    answer = ask(server, "GET", f"/v1/blobs/{blob.name}", server.token, Range=wanted)
    assert answer.status_code == status
    assert status == 416 or answer.headers["Content-Type"] == "application/octet-stream"
    assert status != 200 or answer.content == blob.read_bytes()


def test_what_is_no_request_is_a_problem_too(server: Server) -> None:
    head, said = by_hand(server, b"GET /v1/health HTTP/1.1\r\nX: " + b"x" * 40_000)
    assert head.startswith(b"HTTP/1.1 431 ") and (said["code"], said["status"]) == ("too-large", 431)
    for data in (
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ):
        head, said = by_hand(server, data)
        assert head.startswith(b"HTTP/1.1 400 ") and PROBLEM.encode() in head
        assert (said["code"], said["status"], bool(said["detail"])) == ("malformed", 400, True)


def test_a_body_that_breaks_off_or_is_framed_wrong_costs_its_own_connection(server: Server) -> None:
    for token, path in ((server.operator, "/v1/rollouts"), (server.token, "/v1/enroll")):
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        host, port = server.url.removeprefix("http://").split(":")
        for rest in (
            "Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}",
            "Transfer-Encoding: chunked\r\n\r\n5\r\n{",
            "Content-Length: 9\r\n\r\n{",
        ):
            with socket.create_connection((host, int(port)), timeout=LONG_S) as link:
                link.sendall((head + rest).encode())
                link.shutdown(socket.SHUT_WR)
                while link.recv(65536):
                    pass
    assert ask(server, "GET", "/v1/health").ok
    log = server.log.read_text()
    assert " fault in " not in log and "Traceback" not in log


def test_a_device_is_refused_as_agents_of_any_age_believe(server: Server) -> None:
    """Plain JSON, under the mark, of at most 4096 bytes."""
    odd = "\N{PILE OF POO}" * 2000
    for method, path in (
        ("GET", "/v1/devices/nobody/desired"),
        ("PUT", "/v1/devices/nobody/report"),
        ("POST", "/v1/enroll"),
    ):
        body = json.dumps({"schema": 1, "device": odd, "epoch": odd, odd: 1}, ensure_ascii=False).encode()
        answer = requests.request(
            method, server.url + path, data=body if method != "GET" else None, timeout=LONG_S,
            headers={"Authorization": f"Bearer {server.token}", "Accept": "text/html", "Content-Type": "text/plain"},
        )  # fmt: skip
        assert answer.headers["Content-Type"] == "application/json" and answer.headers["Edgelift"] == "1"
        assert len(answer.content) <= 4096 and answer.status_code in (400, 404)
        assert codec.decode_json(answer.content, ErrorReply, what="refusal").code in CODES
