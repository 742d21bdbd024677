"""A device introduces itself: it is vetted by what it showed, given a certificate if it asks for one, and stored."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from edgelift_contract import __version__
from edgelift_contract.enrol import EnrolReply, EnrolRequest
from edgelift_contract.errors import ContractError
from edgelift_contract.identity import Certified
from edgelift_fleet.api.delivery import Delivery
from edgelift_fleet.api.guard import Came
from edgelift_fleet.api.limits import connection_of
from edgelift_fleet.api.polls import caller_of
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.identity.issuing import refuse_other
from edgelift_fleet.identity.tokens import Shown

POLL_WAIT_S = 30.0


class Enrolling:
    """Takes devices in."""

    def __init__(self, fleet: Fleet, delivery: Delivery) -> None:
        self._fleet, self._delivery = fleet, delivery

    async def take(self, request: Request) -> EnrolReply:
        """Take one in.

        Raises:
            ContractError: what is wrong with what it says; `wrong-device` for another than its certificate's.
            TransportError: `not-authorised`, `token-spent`, `already-enrolled`, `identity-revoked`, `busy`.
        """
        came: Came = request.scope["state"]["came"]
        shown = await run_in_threadpool(self._fleet.identities.show, came.secret) if came.secret else None
        if shown is not None:
            connection_of(request.scope).let_in()
        given: list[Certified] = []

        async def vet(asked: EnrolRequest) -> None:
            made = await run_in_threadpool(self._vet, asked, came, shown, request)
            given.extend([made] if made is not None else [])

        asked = await self._delivery.enrol(request, vet)
        if shown is not None:
            await run_in_threadpool(self._fleet.identities.tag, asked.device, shown)
        # The broker's files may have to be written for it.
        certified = came.peer is not None or bool(given)
        access = await run_in_threadpool(
            self._fleet.broker_access, asked.device, request.url.hostname or "", certified=certified
        )
        return EnrolReply(
            schema=EnrolReply.SCHEMA,
            device=asked.device,
            broker=access,
            poll_wait_s=POLL_WAIT_S,
            host_version=__version__,
            roots=await run_in_threadpool(self._fleet.roots),
            certify=not given and self._fleet.identities.offers(came.peer, plain=request.url.scheme != "https"),
            identity=given[0] if given else None,
        )

    def _vet(self, asked: EnrolRequest, came: Came, shown: Shown | None, request: Request) -> Certified | None:
        identities = self._fleet.identities
        if came.peer is not None:
            refuse_other(came.peer, asked.device)
            identities.note(came.peer)
        if not asked.csr:
            if shown is not None:
                raise ContractError(
                    "malformed", "Who comes with a token must ask for a certificate: there is no csr.",
                    hint="Use an agent of this release: edgelift-agent enroll.",
                )  # fmt: skip
            if came.peer is None:
                identities.known.refuse_shared(asked.device)
            return None
        plain = request.url.scheme != "https"
        if plain and not identities.port and came.peer is None and shown is None:
            return None  # nothing here speaks TLS: a certificate would be of no use
        by = came.peer or shown
        return identities.give(asked.device, asked.csr, by, caller_of(request.scope).address, plain=plain)
