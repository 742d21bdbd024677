"""What devices call: enrolment, their assignment by long poll, reports, telemetry, blobs by ranges."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from edgelift_contract import codec
from edgelift_contract.assignment import Assignment
from edgelift_contract.bundle import BundleReply
from edgelift_contract.enrol import EnrolReply, EnrolRequest
from edgelift_contract.identity import AUTHORITY, Authorities
from edgelift_contract.ids import check_sha256
from edgelift_contract.replies import BatchReply, ReportReply
from edgelift_contract.report import MAX_REPORT_BYTES, Report
from edgelift_contract.telemetry import MAX_BATCH_BYTES, Batch
from edgelift_fleet.api.blob_answer import blob_answer
from edgelift_fleet.api.bringing import Bringing
from edgelift_fleet.api.declared import FAULTS, refusals
from edgelift_fleet.api.delivery import Delivery
from edgelift_fleet.api.enrolling import Enrolling
from edgelift_fleet.fleet import Fleet

_JSON = "application/json"
#: Codes by which every message is refused that is wrong or of another device.
_OF_BUNDLE = ("unknown-schema", "bad-id", "bad-path", "not-found")
_OF_MESSAGE = ("unknown-schema", "bad-id")
_OF_ENROLMENT = ("unknown-schema", "bad-id", "version-skew", "token-spent")


class DeviceRoute(NamedTuple):
    """One call that devices make.

    Attributes:
        method: of HTTP.
        path: with at most one `{name}`, which is handed to the handler.
        handler: takes the request and what stood in the place of `{name}`; None for the poll, which has its own way.
        takes: message type of the body; None for none, `bytes` for a bundle's.
        gives: message type of the answer; None for bytes.
        refuses: codes of its own refusals; those of every route are left out (`declared.universal`).
        about: for the OpenAPI document.
        guarded: only who shows a token or a certificate may call it.
    """

    method: str
    path: str
    handler: Callable[[Request, str], Awaitable[Response]] | None
    takes: Any
    gives: Any
    refuses: tuple[str, ...]
    about: str
    guarded: bool = True

    @property
    def responses(self) -> dict[int | str, dict[str, Any]]:
        """Status → response, of its refusals."""
        return refusals(self.refuses)


def device_routes(fleet: Fleet) -> list[DeviceRoute]:
    """The devices' side of the API."""
    delivery = Delivery(fleet.inbox)
    enrolling = Enrolling(fleet, delivery)
    bringing = Bringing(fleet)

    async def enroll(request: Request, _: str) -> Response:
        """A device introduces itself, at every start, by its certificate; first, and to get one, with a token. The reply
        tells how to reach the broker, if there is one.
        """
        return _answer(await enrolling.take(request))

    async def authority(_: Request, __: str) -> Response:
        """Who may vouch for this server: whoever knows the digest of one can trust it then. Anybody may ask."""
        text = await run_in_threadpool(fleet.identities.certificates)
        return _answer(Authorities(schema=Authorities.SCHEMA, certificates=text))

    async def report(request: Request, device: str) -> Response:
        """What the device runs. An older report than the last changes nothing and is answered alike."""
        return _answer(await delivery.take("report", device, request, MAX_REPORT_BYTES))

    async def telemetry(request: Request, device: str) -> Response:
        """Windows, swap records and events. Items that came before, by (device, epoch, seq), change nothing."""
        return _answer(await delivery.take("telemetry", device, request, MAX_BATCH_BYTES))

    async def blob(request: Request, sha256: str) -> Response:
        """A file of a release, by its digest. Takes `Range` and `If-Range`; never changes."""
        return await run_in_threadpool(blob_answer, fleet.blobs, check_sha256(sha256), request.headers)

    async def bundle(request: Request, device: str) -> Response:
        """A bundle that the device was asked for, named by the header. What is wrong with it ends the wish for it."""
        return _answer(await bringing.take(device, request))

    return [
        _route("POST", "/v1/enroll", enroll, EnrolRequest, EnrolReply, *_OF_ENROLMENT),
        _route("GET", AUTHORITY, authority, None, Authorities, *FAULTS, "disk-full")._replace(guarded=False),
        DeviceRoute("GET", "/v1/devices/{device}/desired", None, None, Assignment, _OF_POLL, _POLL),
        _route("PUT", "/v1/devices/{device}/report", report, Report, ReportReply, *_OF_MESSAGE, "not-found"),
        _route("POST", "/v1/devices/{device}/telemetry", telemetry, Batch, BatchReply, *_OF_MESSAGE, "not-found"),
        _route("GET", "/v1/blobs/{sha256}", blob, None, None, "bad-id", "missing-blob"),
        _route("PUT", "/v1/devices/{device}/bundle", bundle, bytes, BundleReply, *_OF_BUNDLE),
    ]


_OF_POLL = ("bad-id", "not-found", "malformed")
_POLL = """The device's assignment; its ETag is the revision in quotes. With `If-None-Match` and `wait_s` the
request is held until there is another revision, or answered 304. Before the first assignment: 304."""


def _route(
    method: str,
    path: str,
    handler: Callable[[Request, str], Awaitable[Response]],
    takes: Any,
    gives: Any,
    *refuses: str,
) -> DeviceRoute:
    return DeviceRoute(method, path, handler, takes, gives, refuses, handler.__doc__ or "")


def _answer(message: Any) -> Response:
    return Response(codec.canonical_json(message), media_type=_JSON)
