"""One inference, from a decoded HTTP body to an encoded one, measured phase by phase.

The work runs on a bounded pool of threads, so that a long model never blocks health checks; beyond the bound
a request is turned away at once with `busy` rather than queued without end.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from edgelift_agent.serving.shared_memory import SharedMemory
from edgelift_agent.serving.slots import Generation, Slot, Slots
from edgelift_agent.system.standby import StandbyThreads
from edgelift_agent.telemetry.latency import LatencyRecorder, Sample
from edgelift_contract.errors import ContractError, DeviceError, EdgeliftError

if TYPE_CHECKING:
    from edgelift_agent.serving.protocol import Codec, InferRequest
    from edgelift_contract.manifest import TensorSpec

log = logging.getLogger(__name__)

#: A model this quick runs on the server's loop itself: the hop to a thread and back costs some 100 µs, and a
#: health check that waits behind it waits no longer than this, microseconds.
INLINE_BELOW_US = 1000.0


#: A response's body in pieces, and the length of its JSON part; see `protocol.Codec.encode`.
Answer = tuple[list[bytes], "int | None"]


class Requester:
    """Who waits for an answer; `gone` once nobody does."""

    __slots__ = ("gone",)

    def __init__(self) -> None:
        self.gone = False


class RawRequest(NamedTuple):
    """An inference request as HTTP brought it.

    Attributes:
        slot: the model's name.
        version: of the generation; empty for any.
        body: all of it.
        header_length: length of the body's JSON part, bytes; see `protocol.Codec.decode`.
        arrived: when it was complete, by `time.perf_counter()`, seconds.
        requester: None where the answer comes at once.
    """

    slot: str
    version: str
    body: bytes
    header_length: int | None
    arrived: float
    requester: Requester | None = None


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
        regions: SharedMemory | None = None,
    ) -> None:
        """Set the bounds.

        Args:
            slots: where models live.
            recorder: where each request's phases go.
            workers: requests that run at once.
            limit: requests that may be under way, waiting ones included.
            inline_below_us: a quicker model runs on the caller's thread.
            regions: of shared memory, where tensors may lie; None where none is offered.
        """
        self.regions = regions
        self.slots, self.recorder = slots, recorder
        self._pool = StandbyThreads(workers, "infer")
        self._limit, self._inline_below_us = limit, inline_below_us
        self._under_way = 0  # changed on the server's loop alone

    @property
    def pending(self) -> int:
        """Requests under way now."""
        return self._under_way

    async def infer(
        self, request: RawRequest, gone: Callable[[], Coroutine[Any, Any, None]] | None = None
    ) -> Answer:
        """Answer a request, on the server's loop or on the pool.

        Args:
            request: what to answer.
            gone: returns when the client has gone away: what has not begun to run by then never will.

        Raises:
            ContractError: `bad-request`, `not-found`. DeviceError: `busy`, `not-serving`, `no-memory`,
                `deadline-passed`.
        """
        answer = self.at_once(request)
        if answer is not None:
            return answer
        self._under_way += 1
        try:
            running = asyncio.get_running_loop().run_in_executor(self._pool, self._run, request)
            return await (
                running if gone is None else _while_wanted(running, asyncio.ensure_future(gone()), request)
            )
        finally:
            self._under_way -= 1

    async def on_pool(self, work: Callable[..., bytes], *arguments: Any) -> bytes:
        """Do some work on the bytes of a request or an answer, on a thread of the pool."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

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
            raise unknown_model(request.slot)
        return self._on(slot, request, None)

    def _on(self, slot: Slot, request: RawRequest, park_timeout_s: float | None) -> Answer:
        generation = slot.enter(park_timeout_s)
        try:
            check_version(generation, request.version)
            return self._timed(slot, generation, request)
        finally:
            slot.leave(generation)

    def _timed(self, slot: Slot, generation: Generation, raw: RawRequest) -> Answer:
        begun = time.perf_counter()
        codec = generation.codec or _make_codec(generation, self.regions)
        request = _decode(codec, raw)
        decoded = time.perf_counter()
        if request.timeout_us and (decoded - raw.arrived) * 1e6 > request.timeout_us:
            raise DeviceError(
                "deadline-passed",
                f"Request timeout expired: its {request.timeout_us} µs were over before it could run.",
            )
        if raw.requester is not None and raw.requester.gone:
            raise _nobody_waits()
        try:
            results = generation.model.run(request.inputs, list(request.outputs))
            inferred = time.perf_counter()
            # A moving average over about sixteen requests: enough to follow a throttled processor.
            spent = (inferred - decoded) * 1e6
            generation.run_us += (spent - generation.run_us) / 16 if generation.run_us else spent
            answer: Answer | EdgeliftError = _encode(codec, request, results)
        except Exception as error:
            raise self._failed(slot, generation, request, error) from error
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
        if isinstance(answer, EdgeliftError):
            raise answer  # the model did its part; it can't be said in the form that the client asked for
        return answer

    def _failed(
        self, slot: Slot, generation: Generation, request: InferRequest, error: Exception
    ) -> EdgeliftError:
        """The model raised on a request that fits its manifest: count it, unless the request is at fault.

        It is, where the runtime says that the inputs contradict each other, and where the model before fails on it
        just the same.
        """
        if isinstance(error, ContractError) and error.code == "bad-request":
            return error
        if not is_requests_fault(slot, generation, request.inputs, error):
            self.recorder.record_error(generation.key)
        if isinstance(error, MemoryError):
            return DeviceError("no-memory", f"There is not enough memory to run {slot.name!r}.")
        return ContractError("bad-request", f"The model {slot.name!r} could not run this input: {error}")

    def close(self) -> None:
        """End the pool after what is running."""
        self._pool.shutdown(wait=True, cancel_futures=True)


async def _while_wanted(
    running: asyncio.Future[Answer], gone: asyncio.Future[None], request: RawRequest
) -> Answer:
    """What runs, unless the client goes first: then it doesn't begin, or its result is dropped."""
    try:
        both: set[asyncio.Future[Any]] = {running, gone}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            if request.requester is not None:
                request.requester.gone = True
            running.cancel()
            raise _nobody_waits()
        return await running
    finally:
        gone.cancel()


def _decode(codec: Codec, raw: RawRequest) -> InferRequest:
    """What is raised here is the client's, whatever it is: no model has seen the request yet.

    Raises:
        ContractError: `bad-request`. DeviceError: `no-memory`.
    """
    try:
        return codec.decode(raw.body, raw.header_length)
    except EdgeliftError:
        raise
    except MemoryError as error:
        raise DeviceError("no-memory", f"There is not enough memory to read {len(raw.body)} bytes.") from error
    except Exception as error:
        log.exception("a request that should have been refused by name: slot=%s", raw.slot)
        raise ContractError("bad-request", f"The request could not be read: {type(error).__name__}.") from error


def _encode(codec: Codec, request: InferRequest, results: Mapping[str, Any]) -> Answer | EdgeliftError:
    """The answer, or what to tell a client that asked for a form which can't hold it; all else is the model's."""
    try:
        return codec.encode(request, results)
    except ContractError as error:
        return error


def is_requests_fault(slot: Slot, generation: Generation, inputs: Mapping[str, Any], error: Exception) -> bool:
    """A model raised: is that the request's fault?

    It is, where the runtime says that the inputs contradict each other, where they are not what the manifest says, and
    where the model that served before, still loaded in a probation, fails on them too.
    """
    if isinstance(error, ContractError) and error.code == "bad-request":
        return True
    if not _fit(generation.manifest.inputs, inputs):
        return True
    before = slot.enter_standby()
    if before is None:
        return False
    try:
        if before.manifest.inputs != generation.manifest.inputs:
            return False  # it takes something else: its failure would say nothing
        before.model.run(inputs)
    except Exception:  # noqa: BLE001 - that it fails is the answer
        return True
    finally:
        slot.leave(before)
    return False


def _fit(specs: Sequence[TensorSpec], inputs: Mapping[str, Any]) -> bool:
    """Are these arrays of the names, element types and shapes that a manifest states? Over HTTP they always are."""
    from edgelift_agent.runtime.tensors import NUMPY  # late: brings numpy

    def fits(spec: TensorSpec) -> bool:
        shape, dtype = getattr(inputs[spec.name], "shape", None), getattr(inputs[spec.name], "dtype", None)
        if shape is None or dtype != NUMPY.get(spec.dtype) or len(shape) != len(spec.shape):
            return False
        return all(want in (-1, got) for want, got in zip(spec.shape, shape, strict=True))

    return inputs.keys() == {spec.name for spec in specs} and all(map(fits, specs))


def _make_codec(generation: Generation, regions: SharedMemory | None) -> Codec:
    from edgelift_agent.serving.protocol import Codec  # late: brings numpy

    key = generation.key
    parameters = {"artifact": key.artifact, "release": f"{key.model}@{key.version}"}
    generation.codec = Codec(
        generation.manifest, model=key.slot, version=str(key.generation), parameters=parameters, regions=regions
    )
    return generation.codec


def unknown_model(name: str) -> ContractError:
    """What a client reads that names a model which isn't here; Triton's words, which its clients look for."""
    return ContractError("not-found", f"Request for unknown model: {name!r} is not found on this device.")


def _nobody_waits() -> ContractError:
    return ContractError("bad-request", "The client went away before its request could run.")


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
