"""One inference, from a decoded HTTP body to an encoded one, measured phase by phase.

The work runs on a bounded pool of threads, so that a long model never blocks health checks; beyond the bound
a request is turned away at once with `busy` rather than queued without end.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from edgelift_agent.serving.slots import Generation, Slot, Slots
from edgelift_agent.telemetry.latency import LatencyRecorder, Sample
from edgelift_contract.errors import ContractError, DeviceError, EdgeliftError

if TYPE_CHECKING:
    from edgelift_agent.serving.protocol import Codec

#: A model this quick runs on the server's loop itself: the hop to a thread and back costs some 100 µs, and a
#: health check that waits behind it waits no longer than this, microseconds.
INLINE_BELOW_US = 1000.0


#: A response's body in pieces, and the length of its JSON part; see `protocol.Codec.encode`.
Answer = tuple[list[bytes], "int | None"]


class RawRequest(NamedTuple):
    """An inference request as HTTP brought it.

    Attributes:
        slot: the model's name.
        version: of the generation; empty for any.
        body: all of it.
        header_length: length of the body's JSON part, bytes; see `protocol.Codec.decode`.
        arrived: when it was complete, by `time.perf_counter()`, seconds.
    """

    slot: str
    version: str
    body: bytes
    header_length: int | None
    arrived: float


class Inference:
    """Runs requests on the slots' generations."""

    def __init__(
        self,
        slots: Slots,
        recorder: LatencyRecorder,
        *,
        workers: int = 2,
        limit: int = 64,
        inline_below_us: float = INLINE_BELOW_US,
    ) -> None:
        """Set the bounds.

        Args:
            slots: where models live.
            recorder: where each request's phases go.
            workers: requests that run at once.
            limit: requests that may be under way, waiting ones included.
            inline_below_us: a quicker model runs on the caller's thread.
        """
        self.slots, self.recorder = slots, recorder
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="infer")
        self._limit, self._inline_below_us = limit, inline_below_us
        self._under_way = 0
        self._lock = threading.Lock()

    @property
    def pending(self) -> int:
        """Requests under way now."""
        return self._under_way

    async def infer(self, request: RawRequest) -> Answer:
        """Answer a request, on the server's loop or on the pool.

        Raises:
            ContractError: `bad-request`, `not-found`. DeviceError: `busy`, `not-serving`, `no-memory`.
        """
        answer = self.at_once(request)
        if answer is not None:
            return answer
        with self._lock:
            self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._run, request)
        finally:
            with self._lock:
                self._under_way -= 1

    def at_once(self, request: RawRequest) -> Answer | None:
        """Answer on the caller's thread if the model is quick and there; None when the request has to wait.

        Raises:
            ContractError: `bad-request`, `not-found`. DeviceError: `busy`, `not-serving`, `no-memory`.
        """
        if self._under_way >= self._limit:
            raise DeviceError(
                "busy", f"{self._under_way} requests are under way already.", hint="Try again shortly."
            )
        slot = self.slots.get(request.slot)
        generation = slot.current if slot else None
        # Was it measured so quick that handing it to another thread would cost more than running it?
        if slot is None or generation is None or not 0.0 < generation.run_us < self._inline_below_us:
            return None
        try:
            return self._on(slot, request, 0.0)
        except DeviceError as error:
            if error.code != "busy":
                raise
            return None  # parked in this very moment

    def _run(self, request: RawRequest) -> Answer:
        slot = self.slots.get(request.slot)
        if slot is None:
            raise ContractError("not-found", f"There is no model {request.slot!r} on this device.")
        return self._on(slot, request, None)

    def _on(self, slot: Slot, request: RawRequest, park_timeout_s: float | None) -> Answer:
        generation = slot.enter(park_timeout_s)
        try:
            check_version(generation, request.version)
            return self._timed(generation, request)
        except EdgeliftError:
            raise  # the request's fault, not the model's
        except Exception as error:
            self.recorder.record_error(generation.key)
            if isinstance(error, MemoryError):
                raise DeviceError("no-memory", f"There is not enough memory to run {slot.name!r}.") from error
            raise ContractError(
                "bad-request", f"The model {slot.name!r} could not run this input: {error}"
            ) from error
        finally:
            slot.leave(generation)

    def _timed(self, generation: Generation, raw: RawRequest) -> Answer:
        begun = time.perf_counter()
        codec = generation.codec or _make_codec(generation)
        request = codec.decode(raw.body, raw.header_length)
        decoded = time.perf_counter()
        results = generation.model.run(request.inputs, list(request.outputs))
        inferred = time.perf_counter()
        # A moving average over about sixteen requests: enough to follow a throttled processor.
        spent = (inferred - decoded) * 1e6
        generation.run_us += (spent - generation.run_us) / 16 if generation.run_us else spent
        answer = codec.encode(request, results)
        encoded = time.perf_counter()
        self.recorder.record(
            generation.key,
            Sample(
                (begun - raw.arrived) * 1e6,
                (decoded - begun) * 1e6,
                spent,
                (encoded - inferred) * 1e6,
                (encoded - raw.arrived) * 1e6,
            ),
        )
        return answer

    def close(self) -> None:
        """End the pool after what is running."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _make_codec(generation: Generation) -> Codec:
    from edgelift_agent.serving.protocol import Codec  # late: brings numpy

    key = generation.key
    parameters = {"artifact": key.artifact, "release": f"{key.model}@{key.version}"}
    generation.codec = Codec(
        generation.manifest, model=key.slot, version=str(key.generation), parameters=parameters
    )
    return generation.codec


def check_version(generation: Generation, version: str) -> None:
    """Accept an empty version or the number of the generation that serves.

    Raises:
        ContractError: `not-found`.
    """
    if version and version != str(generation.number):
        raise ContractError(
            "not-found",
            f"{generation.key.slot!r} serves version {generation.number}, not {version}.",
            hint="Leave it out.",
        )
