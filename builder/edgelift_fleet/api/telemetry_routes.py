"""Telemetry over HTTP: latency over any time, gauges, sampling, and everything as JSON lines."""

from __future__ import annotations

import time
from typing import Annotated, Any, cast

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from edgelift_contract.errors import ContractError
from edgelift_contract.telemetry import LatencyPhase
from edgelift_fleet.api.asked import decode_asked
from edgelift_fleet.api.conditional import MATCHED, carry_out, keyed
from edgelift_fleet.api.declared import refusals
from edgelift_fleet.api.limits import read_body
from edgelift_fleet.api.operator_routes import MAX_OPERATOR_BYTES, answer, operator_router
from edgelift_fleet.api.schema import answers, asks
from edgelift_fleet.conditions import Conditions, version_of_device
from edgelift_fleet.db import ROWS
from edgelift_fleet.devices import get_device
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages import DeviceGauges, GaugeStep, LatencyReply, SampleReply, SampleRequest
from edgelift_fleet.telemetry import export, gauges, query, samples
from edgelift_fleet.telemetry.packing import STORED

#: No answer has more steps.
MAX_STEPS = 2000
DAY_S = 86400.0

_OF_DEVICE = ("bad-id", "not-found")
_LINES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One JSON object a line.",
        "content": {"application/x-ndjson": {"schema": {"description": "A line each."}}},
    },
    **refusals(_OF_DEVICE),
}

_Text = Annotated[str, Query(max_length=64)]
_Time = Annotated[float | None, Query(ge=0, le=1e11, allow_inf_nan=False, description="Seconds since 1970.")]
_Step = Annotated[
    float, Query(ge=0, le=1e9, allow_inf_nan=False, description="Length of a step, seconds; 0 for none.")
]


def telemetry_routes(fleet: Fleet) -> APIRouter:
    """The operators' side of the API: telemetry."""
    router = operator_router(fleet, "telemetry", reads="viewer", changes="operator")

    @router.get("/v1/latency", responses=answers(LatencyReply, *_OF_DEVICE))
    def latency(
        model: _Text = "",
        version: _Text = "",
        hardware_class: Annotated[str, Query(alias="class", max_length=64)] = "",
        device: _Text = "",
        tag: Annotated[str, Query(max_length=256, description="`key` or `key=value`.")] = "",
        phase: Annotated[
            str, Query(max_length=64, description="Of total,infer,queue,decode,encode.")
        ] = "total,infer",
        start: Annotated[_Time, Query(alias="from")] = None,
        end: Annotated[_Time, Query(alias="to")] = None,
        step: _Step = 0.0,
    ) -> Response:
        """Latency of the last day, or from `from` to `to`, by slot, version, hardware class and throttling: quantiles
        read from joined histograms. With `step` also in equal steps. Of one device to the minute; else whole hours.
        """
        began, ended = _span(start, end, step)
        asked = query.Question(model, version, hardware_class, device, tag, _phases(phase), step)
        kept = query.minutes_kept_from(fleet.site.config.telemetry_minute_days)
        with fleet.db.read() as session:
            if device:
                get_device(session, device)
            return answer(query.latency(session, asked, began, ended, minutes_from=kept, asked=fleet.asked))

    @router.get("/v1/gauges", responses=answers(list[DeviceGauges]))
    def newest() -> Response:
        """The newest gauges of every device that sent any, by id."""
        with fleet.db.read() as session:
            found = gauges.newest(session)
        return answer([DeviceGauges(device, *found[device]) for device in sorted(found)])

    @router.get("/v1/devices/{device}/gauges", responses=answers(list[GaugeStep], *_OF_DEVICE))
    def gauges_of(
        device: str,
        start: Annotated[_Time, Query(alias="from")] = None,
        end: Annotated[_Time, Query(alias="to")] = None,
        step: _Step = 3600.0,
    ) -> Response:
        """A device's gauges (temperature, throttling, memory, disk …) of the last day, or from `from` to `to`: least,
        mean and most in equal steps.
        """
        began, ended = _span(start, end, step or DAY_S)
        with fleet.db.read() as session:
            get_device(session, device)
            return answer(gauges.steps(session, device, began, ended, step or ended - began))

    @router.post(
        "/v1/devices/{device}/sample", openapi_extra=keyed(asks(SampleRequest), match=True),
        responses=answers(SampleReply, *_OF_DEVICE, "conflict", *MATCHED),
    )  # fmt: skip
    async def sample(device: str, request: Request) -> Response:
        """Keep what the device sends from now on at full resolution, longer than others'."""
        body = await read_body(request, MAX_OPERATOR_BYTES)
        wanted = decode_asked(body, SampleRequest)
        return await carry_out(request, body, lambda on: _sample(fleet, device, wanted.for_s, on))

    @router.get("/v1/telemetry", response_class=StreamingResponse, responses=_LINES)
    def telemetry(
        what: export.What = "windows",
        device: _Text = "",
        start: Annotated[_Time, Query(alias="from")] = None,
        end: Annotated[_Time, Query(alias="to")] = None,
        resolution: export.Resolution = "minute",
    ) -> Response:
        """Everything of one kind as JSON lines, of the last day or from `from` to `to`, in no more memory for more."""
        began, ended = _span(start, end, 0.0)
        with fleet.db.read() as session:
            if device:
                get_device(session, device)
        told = export.lines(fleet.db.read, what, began, ended, device=device, resolution=resolution)
        return StreamingResponse(told, media_type="application/x-ndjson")

    return router


def _sample(fleet: Fleet, device: str, for_s: float, on: Conditions) -> SampleReply:
    with fleet.db.write(ROWS) as session:
        on.begin(session)
        get_device(session, device)
        on.match(version_of_device(session, device))
        made = samples.sample(session, device, for_s)
        on.end(session, made)
        return made


def _span(start: float | None, end: float | None, step_s: float) -> tuple[float, float]:
    """From and to, the last day when left out; from at the beginning of a step.

    Raises:
        ContractError: `malformed` when it ends before it begins, or has too many steps.
    """
    ended = time.time() if end is None else end
    began = ended - DAY_S if start is None else start
    if began >= ended:
        raise ContractError(
            "malformed", f"The time from {began:.0f} to {ended:.0f} is none: it ends as it begins."
        )
    if step_s and (ended - began) / step_s > MAX_STEPS:
        raise ContractError(
            "malformed", f"{ended - began:.0f} s in steps of {step_s:g} s are more than {MAX_STEPS} steps.",
            hint="Ask for longer steps or a shorter time.",
        )  # fmt: skip
    # Steps begin at whole multiples of their length, as the buckets do that answer for times long past.
    return (began - began % step_s if step_s else began), ended


def _phases(text: str) -> tuple[LatencyPhase, ...]:
    named = tuple(part.strip() for part in text.split(",") if part.strip())
    for name in named:
        if name not in STORED:
            raise ContractError("malformed", f"{name!r} is no phase.", hint=f"They are {', '.join(STORED)}.")
    return cast("tuple[LatencyPhase, ...]", named or ("total", "infer"))
