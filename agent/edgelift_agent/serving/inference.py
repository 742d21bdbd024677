"""One inference, from a decoded HTTP body to an encoded one, measured phase by phase.

The work runs on a bounded pool of threads, so that a long model never blocks health checks; beyond the bound
a request is turned away at once with `busy` rather than queued without end.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from edgelift_agent.latency import LatencyRecorder, Sample
from edgelift_agent.serving.slots import Generation, Slots
from edgelift_contract.errors import ContractError, DeviceError, EdgeliftError

#: A model this quick runs on the server's loop itself: the hop to a thread and back costs some 100 µs, and a
#: health check that waits behind it waits no longer than this, microseconds.
INLINE_BELOW_US = 1000.0


class Inference:
    """Runs requests on the slots' generations."""

    def __init__(self, slots: Slots, recorder: LatencyRecorder, *, workers: int = 2, limit: int = 64) -> None:
        """Set the bounds.

        Args:
            slots: where models live.
            recorder: where each request's phases go.
            workers: requests that run at once.
            limit: requests that may be under way, waiting ones included.
        """
        self.slots, self.recorder = slots, recorder
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="infer")
        self._limit = limit
        self._under_way = 0
        self._lock = threading.Lock()

    @property
    def pending(self) -> int:
        """Requests under way now."""
        return self._under_way

    async def infer(
        self, name: str, version: str, body: bytes, header_length: int | None
    ) -> tuple[list[bytes], int | None]:
        """Answer a request; see `protocol.encode_response` for what comes back.

        Raises:
            ContractError: `bad-request`, `not-found`. DeviceError: `busy`, `not-serving`, `no-memory`.
        """
        arrived = time.perf_counter()
        with self._lock:
            if self._under_way >= self._limit:
                raise DeviceError(
                    "busy", f"{self._under_way} requests are under way already.", hint="Try again shortly."
                )
            self._under_way += 1
        try:
            if self._is_quick(name):
                try:
                    return self.run(name, version, body, header_length, arrived, 0.0)
                except DeviceError as error:
                    if error.code != "busy":
                        raise  # parked in this very moment: wait for the new model on the pool, not here
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, self.run, name, version, body, header_length, arrived)
        finally:
            with self._lock:
                self._under_way -= 1

    def _is_quick(self, name: str) -> bool:
        """Was the model measured so quick that handing it to another thread would cost more than running it?"""
        slot = self.slots.get(name)
        generation = slot.current if slot else None
        return generation is not None and 0.0 < generation.run_us < INLINE_BELOW_US

    def run(
        self,
        name: str,
        version: str,
        body: bytes,
        header_length: int | None,
        arrived: float,
        park_timeout_s: float | None = None,
    ) -> tuple[list[bytes], int | None]:
        """The same on the caller's thread.

        Args:
            name: of the slot.
            version: of the generation; empty for any.
            body: the HTTP body.
            header_length: length of its JSON part, bytes.
            arrived: when the request came, by `time.perf_counter()`, seconds.
            park_timeout_s: how long to wait at a parked slot; None for the slot's own limit.
        """
        slot = self.slots.get(name)
        if slot is None:
            raise ContractError("not-found", f"There is no model {name!r} on this device.")
        with slot.lease(park_timeout_s) as generation:
            check_version(generation, version)
            try:
                return self._timed(generation, body, header_length, arrived)
            except EdgeliftError:
                raise  # the request's fault, not the model's
            except Exception as error:
                self.recorder.record_error(generation.key)
                if isinstance(error, MemoryError):
                    raise DeviceError("no-memory", f"There is not enough memory to run {name!r}.") from error
                raise ContractError(
                    "bad-request", f"The model {name!r} could not run this input: {error}"
                ) from error

    def _timed(
        self, generation: Generation, body: bytes, header_length: int | None, arrived: float
    ) -> tuple[list[bytes], int | None]:
        from edgelift_agent.serving.protocol import decode_request, encode_response  # late: brings numpy

        begun = time.perf_counter()
        request = decode_request(body, header_length, generation.manifest)
        decoded = time.perf_counter()
        results = generation.model.run(request.inputs, list(request.outputs))
        inferred = time.perf_counter()
        key = generation.key
        # A moving average over about sixteen requests: enough to follow a throttled processor.
        spent = (inferred - decoded) * 1e6
        generation.run_us += (spent - generation.run_us) / 16 if generation.run_us else spent
        answer = encode_response(
            request,
            results,
            model=key.slot,
            version=str(key.generation),
            parameters={"artifact": key.artifact, "release": f"{key.model}@{key.version}"},
        )
        encoded = time.perf_counter()
        self.recorder.record(
            key,
            Sample(
                (begun - arrived) * 1e6,
                (decoded - begun) * 1e6,
                (inferred - decoded) * 1e6,
                (encoded - inferred) * 1e6,
                (encoded - arrived) * 1e6,
            ),
        )
        return answer

    def close(self) -> None:
        """End the pool after what is running."""
        self._pool.shutdown(wait=True, cancel_futures=True)


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
