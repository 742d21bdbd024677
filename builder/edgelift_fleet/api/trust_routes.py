"""The image repository over HTTP: read to be signed elsewhere, and brought back signed."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from edgelift_contract.errors import ContractError
from edgelift_contract.signed import IMAGE
from edgelift_fleet.api.asked import decode_asked
from edgelift_fleet.api.conditional import KEYED, carry_out, keyed
from edgelift_fleet.api.limits import read_body
from edgelift_fleet.api.operator_routes import answer, operator_router
from edgelift_fleet.api.schema import answers, asks
from edgelift_fleet.conditions import Conditions
from edgelift_fleet.db import SITE
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages.trust import ImageChanged, ImageRoles
from edgelift_fleet.trust.admission import admitted
from edgelift_fleet.trust.online import freshen, online_signer
from edgelift_fleet.trust.store import newest, put

#: What is brought at once, bytes.
MAX_BROUGHT_BYTES = 16 << 20
#: Roles of the control plane's own; nobody else signs them.
OWN = ("snapshot", "timestamp")


def trust_routes(fleet: Fleet) -> APIRouter:
    """What is signed."""
    router = operator_router(fleet, "trust")

    @router.get("/v1/trust/image", responses=answers(ImageRoles))
    def show_image() -> Response:
        """The signed metadata that says what is genuine, by role, but for what the control plane signs itself; empty on a
        site that signs nothing.
        """
        with fleet.db.read() as session:
            stored = newest(session, IMAGE)
        return answer(ImageRoles({role: one.body.decode() for role, one in stored.items() if role not in OWN}))

    @router.put(
        "/v1/trust/image", openapi_extra=keyed(asks(ImageRoles)),
        responses=answers(ImageChanged, "not-found", "not-signed", "metadata-wrong", "changed-meanwhile", *KEYED),
    )  # fmt: skip
    async def bring_image(request: Request) -> Response:
        """Bring metadata that was signed elsewhere, each role as its next version; all of it is taken, or none."""
        body = await read_body(request, MAX_BROUGHT_BYTES)
        wanted = decode_asked(body, ImageRoles)
        return await carry_out(request, body, lambda on: _bring(fleet, wanted, on))

    return router


def _bring(fleet: Fleet, wanted: ImageRoles, on: Conditions) -> ImageChanged:
    with fleet.db.write(SITE) as session:
        on.begin(session)
        stored = newest(session, IMAGE)
        if not stored:
            raise ContractError("not-found", "This site signs nothing.", hint="Make keys: edgelift keys create.")
        taken = admitted(stored, {role: text.encode() for role, text in wanted.roles.items()})
        if taken:
            put(session, IMAGE, taken)
            freshen(session, online_signer(fleet.site))
        made = ImageChanged({role: one.version for role, one in taken.items()})
        on.end(session, made)
    if fleet.handing is not None:
        fleet.handing.changed()
    return made
