"""The image repository over HTTP: read to be signed elsewhere, and brought back signed."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request, Response

from edgelift_contract.signed import DIRECTOR, IMAGE
from edgelift_fleet.api.asked import decode_asked
from edgelift_fleet.api.conditional import KEYED, carry_out, keyed, needing
from edgelift_fleet.api.limits import read_body
from edgelift_fleet.api.operator_routes import answer, operator_router
from edgelift_fleet.api.operators import principal_of
from edgelift_fleet.api.schema import answers, asks
from edgelift_fleet.conditions import Conditions
from edgelift_fleet.db import SITE
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.listed import refuse_needed, retired_and_unneeded
from edgelift_fleet.messages.trust import ImageChanged, ImageRoles, OnlineKey, SigningView
from edgelift_fleet.trust.admission import admitted, admitted_director, check_both
from edgelift_fleet.trust.expiring import signing_roles, warnings
from edgelift_fleet.trust.online import freshen, online_ids, prepare_online_key, settle_online_key, signer_of_site
from edgelift_fleet.trust.store import newest, put, unsigned

#: What is brought at once, bytes.
MAX_BROUGHT_BYTES = 16 << 20
#: Roles of the control plane's own; nobody else signs them.
OWN = ("snapshot", "timestamp")
#: Roles that say who may sign; all others say what is genuine, as whoever publishes does.
_SIGNERS = ("root", "targets")


def signing_view(fleet: Fleet) -> SigningView:
    """Who signs what, until when, and what ends soon; empty on a site that signs nothing."""
    with fleet.db.read() as session:
        image, director = newest(session, IMAGE), newest(session, DIRECTOR)
    roles = list(signing_roles(image, director)) if image else []
    return SigningView(roles, list(warnings(roles, time.time())) if roles else [])


def trust_routes(fleet: Fleet) -> APIRouter:
    """What is signed."""
    router = operator_router(fleet, "trust", reads="viewer", changes="admin")

    @router.get("/v1/trust", responses=answers(SigningView))
    def show_signing() -> Response:
        """Who signs what, until when, and what ends soon."""
        return answer(signing_view(fleet))

    @router.get("/v1/trust/image", responses=answers(ImageRoles))
    def show_image() -> Response:
        """The signed metadata that says what is genuine, by role, but for what the control plane signs itself; empty on a
        site that signs nothing.
        """
        with fleet.db.read() as session:
            stored, top = newest(session, IMAGE), newest(session, DIRECTOR).get("root")
            retired = retired_and_unneeded(session) if stored else []
        if not stored or top is None:
            return answer(ImageRoles({}))
        roles = {role: one.body.decode() for role, one in stored.items() if role not in OWN}
        return answer(ImageRoles(roles, top.body.decode(), retired))

    @router.put(
        "/v1/trust/image", openapi_extra=needing("operator", keyed(asks(ImageRoles))),
        responses=answers(
            ImageChanged, "not-found", "not-signed", "metadata-wrong", "changed-meanwhile", "conflict", *KEYED
        ),
    )  # fmt: skip
    async def bring_image(request: Request) -> Response:
        """Bring metadata that was signed elsewhere, each role as its next version; all of it is taken, or none. What says
        who may sign (`root`, `targets`, the director's root) needs the role admin.
        """
        body = await read_body(request, MAX_BROUGHT_BYTES)
        wanted = decode_asked(body, ImageRoles)
        if wanted.director or any(role in wanted.roles for role in _SIGNERS):
            principal_of(request).require("admin")
        return await carry_out(request, body, lambda on: _bring(fleet, wanted, on))

    @router.post(
        "/v1/trust/online-key",
        openapi_extra=keyed(),
        responses=answers(OnlineKey, "not-found", "conflict", *KEYED),
    )
    async def prepare_online(request: Request) -> Response:
        """Have a key made ready that is to take the place of the control plane's own, once both roots name it."""
        return await carry_out(request, b"", lambda on: _prepare(fleet, on))

    return router


def _prepare(fleet: Fleet, on: Conditions) -> OnlineKey:
    with fleet.db.write(SITE) as session:
        on.begin(session)
        stored = newest(session, IMAGE)
        if not stored:
            raise unsigned()
        signer = prepare_online_key(fleet.site, online_ids(stored["root"].body))
        made = OnlineKey(str(signer.public_key.keyval["public"]))
        on.end(session, made)
        return made


def _bring(fleet: Fleet, wanted: ImageRoles, on: Conditions) -> ImageChanged:
    with fleet.db.write(SITE) as session:
        on.begin(session)
        image, director = newest(session, IMAGE), newest(session, DIRECTOR)
        if not image:
            raise unsigned()
        taken = admitted(image, {role: text.encode() for role, text in wanted.roles.items()})
        top = admitted_director(director, wanted.director.encode()) if wanted.director else {}
        refuse_needed(session, image, taken)
        if "root" in taken or top:
            check_both({**image, **taken}, {**director, **top})
        if taken or top:
            put(session, IMAGE, taken)
            put(session, DIRECTOR, top)
            freshen(session, signer_of_site(session, fleet.site))
        ids = online_ids({**image, **taken}["root"].body)
        versions = {role: one.version for role, one in taken.items()}
        made = ImageChanged(versions | ({"director": top["root"].version} if top else {}))
        on.end(session, made)
    settle_online_key(fleet.site, ids)
    fleet.signed.look_again()
    if fleet.handing is not None:
        fleet.handing.changed()
    return made
