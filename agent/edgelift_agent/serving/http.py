"""Open Inference Protocol V2 as an ASGI application: routes, limits, and errors in the protocol's form.

No framework: the inference path is a dictionary look-up and a call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from typing import Any

import orjson

from edgelift_agent.serving.bodies import AROUND_BYTES, BodyReader, largest_body, too_large
from edgelift_agent.serving.encoding import KNOWN, decode_body, encode_body, wanted_encoding
from edgelift_agent.serving.extensions import model_config, model_statistics, repository_index
from edgelift_agent.serving.inference import Inference, RawRequest, Requester, check_version, unknown_model
from edgelift_agent.serving.meanings import model_parameters, tensor_metadata
from edgelift_agent.serving.replies import HEADER_LENGTH, Reply, error_reply, json_reply, tensors_reply
from edgelift_agent.serving.slots import Generation
from edgelift_contract import __version__
from edgelift_contract.errors import ContractError, EdgeliftError
from edgelift_contract.manifest import Manifest
from edgelift_contract.tally import Tally

Scope = dict[str, Any]
Headers = dict[bytes, bytes]
Target = tuple[str, str]  # slot, version or ""
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

#: What Triton's clients look for: the server's name, whatever serves, and the extensions of the protocol.
SERVER_NAME = "triton"
EXTENSIONS = [
    "binary_tensor_data",
    "classification",
    "model_repository",
    "model_configuration",
    "statistics",
    "system_shared_memory",
]

#: An order to the repository is a name and a few words; models are not taken here.
_ORDER_BYTES = 1024 * 1024
#: JSON longer than this is not read on the server's loop: its requests would wait milliseconds behind it, bytes.
_LOOP_JSON_BYTES = 128 * 1024


class InferenceApp:
    """The ASGI application in front of the slots."""

    def __init__(
        self,
        inference: Inference,
        *,
        max_body_bytes: int,
        on_order: Callable[[str, str, str], None] | None = None,
        refused: Tally | None = None,
    ) -> None:
        """Bind.

        Args:
            inference: runs requests.
            max_body_bytes: largest body.
            on_order: carries out the repository's `load` and `unload`: (order, slot, artifact or "").
            refused: counts requests that are answered with an error, by its code.
        """
        self._inference, self._on_order, self._refused = inference, on_order, refused or Tally()
        self.max_body_bytes = max_body_bytes
        self._reader = BodyReader(max_body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification; `lifespan` is not spoken."""
        if scope["type"] != "http":
            return
        try:
            parts = scope["path"].strip("/").split("/")  # the server has unquoted it
            reply = await self._route(scope["method"], parts, dict(scope["headers"]), receive)
        except EdgeliftError as error:
            reply = self._refuse(error)
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers()})
        await send({"type": "http.response.body", "body": reply.body})

    def at_once(self, target: Target, headers: Headers, body: bytes) -> Reply | None:
        """The short way of an inference whose body is here: an answer, or None when it can't be given at once.

        Args:
            target: from `inference_target`.
            headers: names in lower case.
            body: within the limit.
        """
        if b"content-encoding" in headers or headers.get(b"accept-encoding") in KNOWN:
            return None
        try:
            if len(body) > AROUND_BYTES:  # which every model takes
                if len(body) > _LOOP_JSON_BYTES and HEADER_LENGTH not in headers:
                    return None
                if len(body) > (limit := self._limit(target[0])):
                    raise too_large(str(len(body)), limit)
            answer = self._inference.at_once(_raw_request(target, headers, body))
        except EdgeliftError as error:
            return self._refuse(error)
        return None if answer is None else tensors_reply(*answer)

    def _refuse(self, error: EdgeliftError) -> Reply:
        self._refused.add(error.code)
        return error_reply(error)

    async def _route(self, method: str, parts: list[str], headers: Headers, receive: Receive) -> Reply:
        if parts[0] != "v2":
            raise ContractError(
                "not-found", f"There is nothing at /{'/'.join(parts)}.", hint="The protocol begins at /v2."
            )
        if method == "POST" and _is_inference(parts):
            return await self._infer(parts, headers, receive)
        if parts[1:2] in (["systemsharedmemory"], ["cudasharedmemory"]):
            return await self._memory(method, parts[1], parts[2:], headers, receive)
        if method == "POST" and parts[1:2] == ["repository"]:
            return await self._repository(parts[2:], headers, receive)
        if method != "GET":
            return json_reply({"error": f"{method} is not known here"}, 405)
        match parts[1:]:
            case []:
                return json_reply({"name": SERVER_NAME, "version": __version__, "extensions": EXTENSIONS})
            case ["health", "live"]:
                return Reply()
            case ["health", "ready"]:
                return Reply(200 if self._ready() else 503)
            case ["models"]:
                return json_reply({"models": self._inference.slots.names()})
            case ["models", "stats"]:
                slots = [self._inference.slots.get(name) for name in self._inference.slots.names()]
                return self._statistics([slot.current for slot in slots if slot and slot.current])
            case ["models", *rest]:
                return self._model(rest)
        raise ContractError("not-found", f"There is nothing at /{'/'.join(parts)}.")

    def _ready(self) -> bool:
        """Every slot that exists serves, or is changing its model with requests waiting; at least one does."""
        slots = [self._inference.slots.get(name) for name in self._inference.slots.names()]
        return bool(slots) and all(slot is not None and (slot.current or slot.parked) for slot in slots)

    def _model(self, parts: list[str]) -> Reply:
        name, version, rest = split_model(parts)
        if rest == ["ready"]:
            slot = self._inference.slots.get(name)
            generation = slot.current if slot else None
            ready = generation is not None and version in ("", str(generation.number))
            return Reply(200 if ready else 503)
        if rest == ["config"]:
            generation = self._generation(name, version)
            return json_reply(model_config(generation, platform_name(generation.manifest)))
        if rest == ["stats"]:
            return self._statistics([self._generation(name, version)])
        if not rest:
            return json_reply(model_metadata(self._generation(name, version)))
        raise ContractError("not-found", f"There is nothing at {'/'.join(rest)!r} of a model.")

    def _statistics(self, generations: list[Generation]) -> Reply:
        stats = [model_statistics(generation, self._inference.recorder) for generation in generations]
        return json_reply({"model_stats": stats})

    async def _repository(self, parts: list[str], headers: Headers, receive: Receive) -> Reply:
        limit = min(_ORDER_BYTES, self.max_body_bytes)
        async with self._reader.read(headers, receive, limit) as body:
            if parts == ["index"]:
                return json_reply(repository_index(self._inference.slots))
            if len(parts) != 3 or parts[0] != "models" or parts[2] not in ("load", "unload"):
                raise ContractError("not-found", f"There is nothing at {'/'.join(parts)!r} of the repository.")
            return await self._order(parts[2], parts[1], body)

    async def _memory(self, method: str, kind: str, parts: list[str], headers: Headers, receive: Receive) -> Reply:
        """`[region/NAME/]status`, `register` and `unregister` of shared memory; of CUDA's there never is any."""
        name = parts[1] if parts[:1] == ["region"] and len(parts) == 3 else ""
        act, regions = parts[-1] if parts else "", self._inference.regions if kind.startswith("system") else None
        async with self._reader.read(headers, receive, min(_ORDER_BYTES, self.max_body_bytes)) as body:
            if (method, act) == ("GET", "status"):
                return json_reply(regions.status(name) if regions else [])
            if (method, act) == ("POST", "unregister"):
                if regions:
                    regions.unregister(name)
                return Reply()
            if (method, act) == ("POST", "register") and name:
                if regions is None:
                    raise ContractError("bad-request", "Memory of this kind is not shared here.")
                regions.register(name, read_order(body))
                return Reply()
        raise ContractError("not-found", f"There is nothing at /v2/{kind}/{'/'.join(parts)}.")

    async def _order(self, order: str, name: str, body: bytes) -> Reply:
        if self._on_order is None:
            raise ContractError("conflict", "This server does not change its models on request.")
        try:
            arguments = repository_arguments(body)
            # The order is carried out by the worker; waiting for it must not hold up the requests of others.
            await asyncio.get_running_loop().run_in_executor(None, self._on_order, order, name, arguments)
        except EdgeliftError as error:
            # The words that Triton's clients look for, before what happened.
            words = f"failed to {order} {name!r}: {error.message}"
            raise type(error)(error.code, words, hint=error.hint) from error
        return Reply()

    def _generation(self, name: str, version: str) -> Generation:
        slot = self._inference.slots.get(name)
        generation = slot.current if slot else None
        if generation is None:
            raise unknown_model(name)
        check_version(generation, version)
        return generation

    async def _infer(self, parts: list[str], headers: Headers, receive: Receive) -> Reply:
        name, version, _ = split_model(parts[2:-1])
        limit = self._limit(name)
        async with self._reader.read(headers, receive, limit) as body:
            given = headers.get(b"content-encoding", b"identity").strip().lower()
            if given != b"identity":
                body = await self._inference.on_pool(decode_body, body, given, limit)
            request = _raw_request((name, version), headers, body, Requester())
            reply = tensors_reply(*await self._inference.infer(request, partial(_gone, receive)))
        wanted = wanted_encoding(headers.get(b"accept-encoding"))
        if wanted is None:
            return reply
        packed = await self._inference.on_pool(encode_body, reply.body, wanted)
        return reply._replace(body=packed, extra=(*reply.extra, (b"content-encoding", wanted)))

    def _limit(self, name: str) -> int:
        """Most bytes that a request of the slot's model can need."""
        slot = self._inference.slots.get(name)
        generation = slot.current if slot else None
        return largest_body(generation.manifest, self.max_body_bytes) if generation else self.max_body_bytes


async def _gone(receive: Receive) -> None:
    """Returns once the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass


@lru_cache(maxsize=256)  # a device has a few slots, and clients repeat themselves
def inference_target(path: bytes) -> Target | None:
    """Slot and version of an inference's path as it stands in the request line; None for any other path.

    A path with escapes or a query counts as another one: the long way reads it.
    """
    if not path.isascii() or b"%" in path or b"?" in path:
        return None
    parts = path.decode("ascii").strip("/").split("/")
    if parts[0] != "v2" or not _is_inference(parts):
        return None
    name, version, _ = split_model(parts[2:-1])
    return name, version


def _is_inference(parts: list[str]) -> bool:
    return parts[-1] == "infer" and len(parts) in (4, 6)


def _raw_request(target: Target, headers: Headers, body: bytes, requester: Requester | None = None) -> RawRequest:
    length = headers.get(HEADER_LENGTH)
    if length is not None and (not length.isdigit() or len(length) > 18):
        raise ContractError("bad-request", f"{HEADER_LENGTH.decode()} is not a number.")
    return RawRequest(*target, body, int(length) if length else None, time.perf_counter(), requester)


def repository_arguments(body: bytes) -> str:
    """The artifact that a `load` names in its parameters, or "" for the slot's assigned one.

    Raises:
        ContractError: `bad-request`; also for uploaded files, which no one has signed.
    """
    if not body:
        return ""
    parameters = read_order(body).get("parameters", {})
    if not isinstance(parameters, dict):
        raise ContractError("bad-request", "'parameters' is not a JSON object.")
    if any(name.startswith("file:") for name in parameters) or "config" in parameters:
        raise ContractError(
            "bad-request", "Files and configurations are not taken here; publish a release instead."
        )
    return str(parameters.get("artifact", ""))


def read_order(body: bytes) -> dict[str, Any]:
    """The JSON object that a body is.

    Raises:
        ContractError: `bad-request`.
    """
    try:
        order = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ContractError("bad-request", f"The body is not JSON: {error}.") from error
    if not isinstance(order, dict):
        raise ContractError("bad-request", "The body is not a JSON object.")
    return order


def split_model(parts: list[str]) -> tuple[str, str, list[str]]:
    """`[m]`, `[m, rest…]` or `[m, "versions", v, rest…]` → (model, version or "", rest)."""
    if len(parts) >= 3 and parts[1] == "versions":
        return parts[0], parts[2], parts[3:]
    return parts[0], "", parts[1:]


def model_metadata(generation: Generation) -> dict[str, Any]:
    """The protocol's model metadata; digest, release and what its source told stand in `parameters`."""
    manifest = generation.manifest
    return {
        "name": generation.key.slot,
        "versions": [str(generation.number)],
        "platform": platform_name(manifest),
        "inputs": [tensor_metadata(spec) for spec in manifest.inputs],
        "outputs": [tensor_metadata(spec) for spec in manifest.outputs],
        "parameters": {
            "artifact": generation.key.artifact,
            "release": f"{manifest.model}@{manifest.version}",
            **model_parameters(manifest),
        },
    }


def platform_name(manifest: Manifest) -> str:
    """The protocol's word for a format and runtime."""
    return {"onnx": "onnx_onnxv1", "tflite": "tflite", "torchscript": "pytorch_libtorch"}[manifest.format]
