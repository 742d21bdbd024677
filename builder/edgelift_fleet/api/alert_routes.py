"""Alerts over HTTP: what stands, what is silenced, and who is told."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from edgelift_fleet.api.asked import decode_asked
from edgelift_fleet.api.conditional import KEYED, carry_out, keyed, unkeyed
from edgelift_fleet.api.limits import read_body
from edgelift_fleet.api.operator_routes import MAX_SELECTOR_BYTES, answer, operator_router
from edgelift_fleet.api.operators import principal_of, say_about
from edgelift_fleet.api.schema import answers, asks
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages.alerts import AlertView, ReceiverAnswer, ReceiverView, SilenceRequest, SilenceView


def alert_routes(fleet: Fleet) -> APIRouter:
    """What is wrong, and who is told."""
    router = operator_router(fleet, "alerts", reads="viewer", changes="operator")
    alerts = fleet.alerts

    @router.get("/v1/alerts", responses=answers(list[AlertView]))
    def list_alerts() -> Response:
        """The alerts that stand, the worst first: what, where, since when, what to do; of boards one for each code."""
        return answer(alerts.standing())

    @router.get("/v1/alerts/silences", responses=answers(list[SilenceView]))
    def list_silences() -> Response:
        """All silences of the last 30 days, the newest first."""
        return answer(alerts.silences())

    @router.post(
        "/v1/alerts/silences", openapi_extra=keyed(asks(SilenceRequest)),
        responses=answers(SilenceView, "bad-id", "not-found", "conflict", *KEYED),
    )  # fmt: skip
    async def silence_alert(request: Request) -> Response:
        """Tell nobody of an alert for a while: of all that have it, or of some boards, or of one rollout."""
        body = await read_body(request, MAX_SELECTOR_BYTES)
        wanted = decode_asked(body, SilenceRequest)
        say_about(request, f"code={wanted.code}, for_s={wanted.for_s:g}")
        who = principal_of(request).name
        return await carry_out(request, body, lambda on: alerts.silence(wanted, who, on))

    @router.delete(
        "/v1/alerts/silences/{silence}", openapi_extra=unkeyed("A silence that has ended stays so."),
        responses=answers(SilenceView, "not-found"),
    )  # fmt: skip
    def unsilence_alert(silence: str) -> Response:
        """End a silence before its time."""
        return answer(alerts.unsilence(silence))

    @router.get("/v1/alerts/receivers", responses=answers(list[ReceiverView]))
    def list_receivers() -> Response:
        """Who is told, as `site.toml` says, without secrets; and what waits for each."""
        return answer(alerts.told())

    @router.post(
        "/v1/alerts/receivers/{receiver}/test", openapi_extra=unkeyed("Each time is a message of its own."),
        responses=answers(ReceiverAnswer, "not-found"),
    )  # fmt: skip
    def test_receiver(receiver: str) -> Response:
        """Send a real message to a receiver, now, and say what it answered."""
        return answer(alerts.test(receiver))

    return router
