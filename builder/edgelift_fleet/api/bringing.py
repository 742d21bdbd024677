"""A device brings a bundle that it was asked for: bounded before it is read, judged before it is kept.

Nothing is taken that nobody asked for: a bundle is looked up before its body is read, and few are read at once.
"""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from edgelift_contract.bundle import BUNDLE_HEADER, MAX_BUNDLE_BYTES, BundleReply, is_bundle_id
from edgelift_contract.errors import ContractError, EdgeliftError
from edgelift_contract.ids import check_device_id
from edgelift_fleet import bundles
from edgelift_fleet.api.crowding import later
from edgelift_fleet.api.limits import announced_bytes, read_body
from edgelift_fleet.api.polls import caller_of
from edgelift_fleet.db import device_scope
from edgelift_fleet.fleet import Fleet

#: Bundles that are read at once: each takes some times its size of the memory while it is judged.
AT_ONCE = 4
#: When whoever comes beyond them may come again, seconds.
_LATER_S = 5.0


class Bringing:
    """Takes bundles that come over HTTP; in one event loop."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self._under_way = fleet, 0

    async def take(self, device: str, request: Request) -> BundleReply:
        """Read a bundle and keep it.

        Raises:
            ContractError: `not-found` where nobody asked for it, or no longer; `too-large`, and what `unpack` raises.
            TransportError: `busy`, with when to come again.
        """
        check_device_id(device)
        bundle = request.headers.get(BUNDLE_HEADER, "")
        if not is_bundle_id(bundle):
            raise ContractError(
                "malformed", f"The request does not say in {BUNDLE_HEADER} which bundle it brings."
            )
        if self._under_way >= AT_ONCE:
            raise later("Too many bundles are being brought at once.", _LATER_S)
        self._under_way += 1
        try:
            return await self._take(device, bundle, request)
        finally:
            self._under_way -= 1

    async def _take(self, device: str, bundle: str, request: Request) -> BundleReply:
        wrong = await run_in_threadpool(self._refusal, device, bundle)
        size_bytes = announced_bytes(request, MAX_BUNDLE_BYTES)
        # Also of one that is refused: who is still sending would not hear why.
        body = await read_body(request, MAX_BUNDLE_BYTES)
        if wrong is not None:
            raise wrong
        if len(body) < size_bytes and "content-length" in request.headers:
            raise ContractError("malformed", f"Only {len(body)} of {size_bytes} bytes of the bundle came.")
        await run_in_threadpool(self._keep, device, bundle, body)
        self._fleet.seen.touch(device, "http", caller_of(request.scope))
        return BundleReply(schema=BundleReply.SCHEMA, device=device, bundle=bundle, size_bytes=len(body))

    def _refusal(self, device: str, bundle: str) -> EdgeliftError | None:
        try:
            with self._fleet.db.read() as session:
                bundles.check_wanted(session, device, bundle)
        except ContractError as error:
            return error
        return None

    def _keep(self, device: str, bundle: str, body: bytes) -> None:
        wrong = bundles.judge(body, device=device, bundle=bundle)
        with self._fleet.db.write(device_scope(device)) as session:
            bundles.take(session, device, bundle, body, wrong)
        self._fleet.wanted_bundles.changed()
        if wrong is not None:
            raise wrong
