"""A simulated board's bundle: asked for by a poll or a message, made of what it would report, brought once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from edgelift_contract import __version__, codec
from edgelift_contract.bundle import BundleAbout, BundleAsked, is_bundle_id, pack
from edgelift_contract.errors import ContractError
from edgelift_fleet.simulate.board import SimulatedBoard
from edgelift_fleet.simulate.calls import Refused

_MAX_BYTES = 4096


class BoardBundles:
    """Brings bundles of one board, in the running event loop.

    Attributes:
        heard: the last one that was asked for; empty once it could not be brought, so that it is asked for again.
    """

    def __init__(self, board: SimulatedBoard, bring: Callable[[str, bytes], Awaitable[None]]) -> None:
        self._board, self._bring, self.heard = board, bring, ""
        self._task: asyncio.Task[None] | None = None

    def told(self, data: bytes) -> None:
        """A message of the broker says which one is wanted; what can't be read is as good as lost: a poll says it too."""
        try:
            asked = codec.decode_json(data, BundleAsked, what="wish for a bundle", limit_bytes=_MAX_BYTES)
        except ContractError:
            return
        if asked.device == self._board.name:
            self.asked(asked.bundle)

    def asked(self, bundle: str) -> None:
        """A poll's answer names this one; nothing happens for one that is under way or done."""
        if bundle != self.heard and is_bundle_id(bundle):
            self.heard = bundle
            self._task = asyncio.create_task(self._make_and_bring(bundle))

    async def _make_and_bring(self, bundle: str) -> None:
        about = BundleAbout(
            schema=BundleAbout.SCHEMA, device=self._board.name, bundle=bundle, made_at=time.time(),
            agent_version=__version__,
        )  # fmt: skip
        told = codec.canonical_json({"slots": {name: slot.report for name, slot in self._board.slots.items()}})
        try:
            await self._bring(
                bundle, pack(about, {"agent.log": b"a simulated board logs nothing\n", "status.json": told})
            )
        except Refused:
            pass  # nobody wants it any more
        except OSError:
            self.heard = ""
