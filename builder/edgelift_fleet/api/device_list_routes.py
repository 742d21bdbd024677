"""Devices in lists: pages, filters, and how many there are of what."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field

from edgelift_fleet.api.asked import decode_asked
from edgelift_fleet.api.conditional import asking
from edgelift_fleet.api.limits import read_body
from edgelift_fleet.api.listing import PageQuery, answer_page
from edgelift_fleet.api.operator_routes import MAX_SELECTOR_BYTES, answer, operator_router
from edgelift_fleet.api.schema import answers, answers_list, asks
from edgelift_fleet.device_filter import DeviceFilter
from edgelift_fleet.device_list import count_devices, list_devices
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages import DeviceCounts, DeviceSearch, DeviceSummary
from edgelift_fleet.paging import WHOLE, Page, Wish
from edgelift_fleet.selector import MAX_LENGTH

_Word = Annotated[str, Field(max_length=130)]


class DeviceQuery(BaseModel):
    """Which devices; all that is given must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: Annotated[str, Field(max_length=MAX_LENGTH, description="A selector.")] = ""
    hardware_class: Annotated[
        str, Field(alias="class", max_length=64, description="A hardware class, or a pattern of it.")
    ] = ""
    tag: Annotated[list[str], Field(max_length=64, description="A tag, or key=value; each must be there.")] = []
    release: Annotated[_Word, Field(description="A slot serves it, as digits@2, or the model.")] = ""
    failing: Annotated[bool | None, Field(description="A slot could not take what it should run.")] = None
    online: Annotated[bool | None, Field(description="It is there.")] = None
    duplicate: Annotated[bool | None, Field(description="Several devices speak under its id.")] = None
    faulty: Annotated[bool | None, Field(description="It is set apart.")] = None

    def filter(self) -> DeviceFilter:
        """As it is asked of the database."""
        return DeviceFilter(
            self.to, self.hardware_class, tuple(self.tag), self.release, self.failing, self.online, self.duplicate,
            self.faulty,
        )  # fmt: skip


class DevicePageQuery(DeviceQuery, PageQuery):
    """A page of those devices. Keys to sort by: `id`, `class`, `last-seen`, `enrolled`."""


def device_list_routes(fleet: Fleet) -> APIRouter:
    """The operators' side of the API: devices in lists."""
    router = operator_router(fleet, "operators", reads="viewer", changes="operator")

    @router.get("/v1/devices", responses=answers_list(DeviceSummary, "bad-id"))
    def devices(request: Request, asked: Annotated[DevicePageQuery, Query()]) -> Response:
        """Devices, by id: what serves, what should, how the last update ended."""
        return answer_page(request, _list(fleet, asked.filter(), asked.wish(WHOLE)))

    @router.get("/v1/devices/counts", responses=answers(DeviceCounts, "bad-id"))
    def counts(asked: Annotated[DeviceQuery, Query()]) -> Response:
        """How many devices there are, online, failing, by class and by release. Takes the filters of the list."""
        return answer(_count(fleet, asked.filter()))

    @router.post(
        "/v1/devices/search", openapi_extra=asking(asks(DeviceSearch)),
        responses=answers_list(DeviceSummary, "bad-id"),
    )  # fmt: skip
    async def search(request: Request, asked: Annotated[PageQuery, Query()]) -> Response:
        """The same list by filters in the body, which may be longer than an address: a selector of thousands of ids. A page
        is asked for in the address; the next one by the same body at the address that `Link` names.
        """
        wanted = await _wanted(request)
        return answer_page(request, await run_in_threadpool(_list, fleet, wanted, asked.wish(WHOLE)))

    @router.post(
        "/v1/devices/counts", openapi_extra=asking(asks(DeviceSearch)),
        responses=answers(DeviceCounts, "bad-id"),
    )  # fmt: skip
    async def search_counts(request: Request) -> Response:
        """The same counts by filters in the body."""
        return answer(await run_in_threadpool(_count, fleet, await _wanted(request)))

    return router


async def _wanted(request: Request) -> DeviceFilter:
    body = await read_body(request, MAX_SELECTOR_BYTES)
    asked = decode_asked(body, DeviceSearch)
    return DeviceFilter(
        asked.to, asked.hardware_class, tuple(asked.tag), asked.release, asked.failing, asked.online, asked.duplicate,
        asked.faulty,
    )  # fmt: skip


def _list(fleet: Fleet, wanted: DeviceFilter, wish: Wish) -> Page[DeviceSummary]:
    with fleet.db.read() as session:
        return list_devices(session, fleet.seen, wanted, wish)


def _count(fleet: Fleet, wanted: DeviceFilter) -> DeviceCounts:
    with fleet.db.read() as session:
        return replace(count_devices(session, fleet.seen, wanted), warnings=fleet.signed.warnings)
