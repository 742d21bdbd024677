"""A device's message from its request into the inbox, and what became of it back: no thread, no database on the way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Literal

from starlette.requests import Request

from edgelift_contract.enrol import EnrolRequest
from edgelift_contract.ids import check_device_id
from edgelift_fleet.api.crowding import Crowding
from edgelift_fleet.api.limits import announced_bytes, read_body
from edgelift_fleet.api.polls import caller_of
from edgelift_fleet.inbox import Inbox, Outcome
from edgelift_fleet.intake import MAX_ENROL_BYTES, Message, enrolment_of


class Delivery:
    """Delivers messages that came over HTTP."""

    def __init__(self, inbox: Inbox[Message]) -> None:
        self._inbox, self._crowding = inbox, Crowding()
        self._settled: deque[tuple[asyncio.Future[Outcome], Outcome]] = deque()

    async def take(
        self, kind: Literal["report", "telemetry"], device: str, request: Request, limit_bytes: int
    ) -> Outcome:
        """Read a message and have it stored; gives the reply once it is.

        Raises:
            ContractError: what is wrong with it.
            TransportError: `busy` when the device sends too much: judged before its body is read.
        """
        check_device_id(device)
        with self._crowding.admit(device, announced_bytes(request, limit_bytes)):
            body = await read_body(request, limit_bytes)
            address = caller_of(request.scope)
            return await self.store(Message(kind, device, body, "http", address))

    async def enrol(self, request: Request, vet: Callable[[EnrolRequest], Awaitable[None]]) -> EnrolRequest:
        """Read an enrolment, have it vetted, then stored. Raises as `take`, and what `vet` raises."""
        with self._crowding.carry(announced_bytes(request, MAX_ENROL_BYTES)):
            body = await read_body(request, MAX_ENROL_BYTES)
            asked = enrolment_of(body)
            await vet(asked)
            await self.store(Message("enrol", asked.device, body, caller=caller_of(request.scope)))
        return asked

    async def store(self, message: Message) -> Outcome:
        """Have a message stored that was read; gives the reply once it is. Raises what the intake raised."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Outcome] = loop.create_future()

        def done(outcome: Outcome) -> None:
            # The loop is woken once for all that were settled before it looks: a group's outcomes come together, and each
            # bell costs a system call and a turn at the interpreter.
            self._settled.append((waiting, outcome))
            if len(self._settled) == 1:
                try:
                    loop.call_soon_threadsafe(self._settle)
                except RuntimeError:
                    pass  # the server has stopped, and nobody waits any more

        self._inbox.put(message.device, message, len(message.data), done)
        outcome = await waiting
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _settle(self) -> None:
        """Hand on what came by now. Whoever adds the first one after the last was taken out rings again."""
        while self._settled:
            waiting, outcome = self._settled.popleft()
            if not waiting.done():
                waiting.set_result(outcome)
