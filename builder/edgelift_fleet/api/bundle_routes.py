"""What operators call for a device's logs: ask for a bundle, see what became of it, fetch it, take it back."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from edgelift_fleet import bundles
from edgelift_fleet.api.asked import decode_asked
from edgelift_fleet.api.conditional import MATCHED, carry_out, keyed
from edgelift_fleet.api.declared import refusals
from edgelift_fleet.api.etags import tagged
from edgelift_fleet.api.limits import read_body
from edgelift_fleet.api.operator_routes import MAX_OPERATOR_BYTES, answer, operator_router
from edgelift_fleet.api.schema import answers, asks
from edgelift_fleet.conditions import Conditions, version_of_bundle, version_of_device
from edgelift_fleet.db import device_scope
from edgelift_fleet.devices import get_device
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages import BundleRequest, BundleView

_OF_DEVICE = ("bad-id", "not-found")
_FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "A gzipped tar.", "content": {"application/gzip": {"schema": {"type": "string"}}}},
    **refusals(_OF_DEVICE),
}


def bundle_routes(fleet: Fleet) -> APIRouter:
    """The routes of bundles."""
    router = operator_router(fleet, "bundles", reads="viewer", changes="operator")

    @router.post(
        "/v1/devices/{device}/bundles",
        openapi_extra=keyed(asks(BundleRequest), match=True),
        responses=answers(BundleView, *_OF_DEVICE, "agent-too-old", "unreadable-row", *MATCHED),
    )
    async def ask_for_bundle(device: str, request: Request) -> Response:
        """Ask a device for its logs and what its doctor finds. The wish waits for a device that is away; one that is
        open already is answered again. Who asked, why and when is kept.
        """
        body = await read_body(request, MAX_OPERATOR_BYTES)
        wanted = decode_asked(body, BundleRequest)
        return await carry_out(request, body, lambda on: _ask(fleet, device, wanted, on))

    @router.get("/v1/devices/{device}/bundles", responses=answers(list[BundleView], *_OF_DEVICE))
    def list_bundles(device: str) -> Response:
        """All bundles that the device was asked for, newest first; the records of those that are kept no longer, too."""
        with fleet.db.read() as session:
            return answer(bundles.list_bundles(session, device))

    @router.get("/v1/devices/{device}/bundles/{bundle}", responses=answers(BundleView, *_OF_DEVICE))
    def show_bundle(device: str, bundle: str) -> Response:
        """What became of one."""
        with fleet.db.read() as session:
            row = bundles.get_bundle(session, device, bundle)
            return tagged(bundles.view(row), version_of_bundle(row))

    @router.get("/v1/devices/{device}/bundles/{bundle}/file", responses=_FILE)
    def bundle_file(device: str, bundle: str) -> Response:
        """The bundle itself."""
        with fleet.db.read() as session:
            data = bundles.body_of(session, device, bundle)
        name = f'attachment; filename="{device}-{bundle[:8]}.tar.gz"'
        return Response(data, media_type="application/gzip", headers={"Content-Disposition": name})

    @router.delete(
        "/v1/devices/{device}/bundles/{bundle}", openapi_extra=keyed(match=True),
        responses=answers(BundleView, *_OF_DEVICE, *MATCHED),
    )  # fmt: skip
    async def withdraw_bundle(device: str, bundle: str, request: Request) -> Response:
        """Take a wish back that is still open, or throw away what was brought; the record stays."""
        return await carry_out(request, b"", lambda on: _withdraw(fleet, device, bundle, on))

    return router


def _ask(fleet: Fleet, device: str, wanted: BundleRequest, on: Conditions) -> BundleView:
    with fleet.db.write(device_scope(device)) as session:
        on.begin(session)
        get_device(session, device)
        on.match(version_of_device(session, device))
        made = bundles.ask(session, device, wanted, by="operator")
        on.end(session, made)
    fleet.wanted_bundles.changed()
    return made


def _withdraw(fleet: Fleet, device: str, bundle: str, on: Conditions) -> BundleView:
    with fleet.db.write(device_scope(device)) as session:
        on.begin(session)
        on.match(version_of_bundle(bundles.get_bundle(session, device, bundle)))
        made = bundles.withdraw(session, device, bundle)
        on.end(session, made)
    fleet.wanted_bundles.changed()
    return made
