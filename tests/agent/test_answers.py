"""Whose word an HTTP answer is: the table, from every route and status."""

import pytest

from edgelift_agent.link.answers import REFUSALS, WANTED, Answer, check_blob, failure, is_wanted
from edgelift_contract.codec import canonical_json
from edgelift_contract.errors import CODES, ContractError, TransportError
from edgelift_contract.replies import MARK, MARK_VALUE, ErrorReply

ROUTES = ("enrol", "desired", "report", "telemetry", "blob")
OURS = {MARK.lower(): MARK_VALUE, "content-type": "application/json"}
SHA = "a" * 64


def told(code: str) -> bytes:
    return canonical_json(ErrorReply("It is so.", code))


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "status", [200, 204, 302, 304, 400, 401, 404, 407, 408, 409, 413, 425, 429, 500, 503, 511]
)
def test_nobody_but_the_control_plane_refuses(route, status: int) -> None:
    for headers, body in (
        ({}, b""),
        ({"content-type": "text/html"}, b"<html>"),
        ({"content-type": "application/json"}, told("missing-blob")),  # without the mark
        ({**OURS, "content-type": "text/html"}, told("missing-blob")),
        (OURS, b'{"error": "x", "code": "of-another-program"}'),
        (OURS, b'{"code": "missing-blob"}'),
        (OURS, b"[" * 5000),
        (OURS, b"\xff"),
    ):
        assert isinstance(failure(route, Answer(status, headers, body), host="h"), TransportError)


@pytest.mark.parametrize("media", ["application/json", "application/problem+json; charset=utf-8"])
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("status", [400, 401, 404, 409, 413, 500, 503, 507])
def test_the_control_plane_refuses_with_the_codes_and_statuses_of_the_table(
    route, status: int, media: str
) -> None:
    for code in CODES:
        error = failure(route, Answer(status, {**OURS, "content-type": media}, told(code)), host="h")
        if code in REFUSALS.get((route, status), ()):
            assert isinstance(error, ContractError) and error.code == code
        else:
            assert isinstance(error, TransportError)


def test_the_table_names_only_codes_that_exist_and_no_status_that_is_wanted() -> None:
    for key, codes in REFUSALS.items():
        assert codes <= CODES.keys()
        assert key not in WANTED


@pytest.mark.parametrize(
    ("value", "expected"), [("7", 7), ("", 0), ("-3", 0), ("Wed, 21 Oct 2065 07:28:00 GMT", 0), ("9" * 40, 0)]
)
def test_retry_after_is_read_as_seconds_or_not_at_all(value: str, expected: float) -> None:
    error = failure("blob", Answer(503, {"retry-after": value}), host="h")
    assert isinstance(error, TransportError) and error.retry_after_s == expected


@pytest.mark.parametrize(
    ("status", "headers", "start"),
    [
        (200, {"etag": f'"{SHA}"', "content-length": "100"}, 0),
        (200, {"etag": f'W/"{SHA}"', "content-length": "100"}, 0),
        (200, {**OURS, "content-length": "100"}, 0),
        (206, {"etag": f'"{SHA}"', "content-length": "60", "content-range": "bytes 40-99/100"}, 40),
        (200, {"content-length": "100"}, None),
        (200, {"etag": '"other"', **OURS, "content-length": "100"}, None),
        (200, {"etag": f'"{SHA}"', "content-length": "99"}, None),
        (200, {"etag": f'"{SHA}"'}, None),
        (206, {"etag": f'"{SHA}"', "content-length": "60"}, None),
        (206, {"etag": f'"{SHA}"', "content-length": "60", "content-range": "bytes 40-99/101"}, None),
        (206, {"etag": f'"{SHA}"', "content-length": "50", "content-range": "bytes 50-99/100"}, None),
    ],
)
def test_a_blob_has_its_own_tag_and_length(status: int, headers: dict[str, str], start: int | None) -> None:
    answer = Answer(status, headers)
    assert is_wanted("blob", answer)
    if start is None:
        with pytest.raises(TransportError):
            check_blob(answer, SHA, 40, 100, host="h")
    else:
        assert check_blob(answer, SHA, 40, 100, host="h") == start


def test_nothing_compressed_is_read() -> None:
    assert not is_wanted("blob", Answer(200, {"content-encoding": "gzip"}))
    assert is_wanted("blob", Answer(200, {"content-encoding": "identity"}))
    assert not is_wanted("desired", Answer(304, {}))
