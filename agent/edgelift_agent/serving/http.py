"""Open Inference Protocol V2 as an ASGI application: routes, limits, and errors in the protocol's form.

No framework: the inference path is a dictionary look-up and a call. A body is refused by its declared length
before it is read, and by its true length while it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from edgelift_agent.serving.extensions import model_config, model_statistics, repository_index
from edgelift_agent.serving.inference import Inference, check_version
from edgelift_agent.serving.slots import Generation
from edgelift_contract import __version__
from edgelift_contract.errors import ContractError, EdgeliftError
from edgelift_contract.manifest import Manifest

#: Length of a body's JSON part, when binary tensors follow it.
HEADER_LENGTH = "inference-header-content-length"

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

EXTENSIONS = ["binary_tensor_data", "model_repository", "model_configuration", "statistics"]

_STATUS = {
    "bad-request": 400,
    "conflict": 400,
    "not-found": 404,
    "too-large": 413,
    "busy": 503,
    "not-serving": 503,
    "no-memory": 503,
}


class InferenceApp:
    """The ASGI application in front of the slots."""

    def __init__(
        self,
        inference: Inference,
        *,
        max_body_bytes: int,
        on_order: Callable[[str, str, str], None] | None = None,
    ) -> None:
        """Bind.

        Args:
            inference: runs requests.
            max_body_bytes: largest body.
            on_order: carries out the repository's `load` and `unload`: (order, slot, artifact or "").
        """
        self._inference, self._on_order = inference, on_order
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification; `lifespan` is not spoken."""
        if scope["type"] != "http":
            return
        try:
            parts = scope["path"].strip("/").split("/")  # the server has unquoted it
            await self._route(scope["method"], parts, scope, receive, send)
        except EdgeliftError as error:
            status = _STATUS.get(error.code, 500)
            extra = [(b"retry-after", b"1")] if status == 503 else []
            await _reply(send, status, [orjson.dumps({"error": str(error), "code": error.code})], extra=extra)

    async def _route(self, method: str, parts: list[str], scope: Scope, receive: Receive, send: Send) -> None:
        if parts[0] != "v2":
            raise ContractError(
                "not-found", f"There is nothing at /{'/'.join(parts)}.", hint="The protocol begins at /v2."
            )
        if method == "POST" and parts[-1] == "infer" and len(parts) in (4, 6):
            await self._infer(parts, scope, receive, send)
            return
        if method == "POST" and parts[1:2] == ["repository"]:
            await self._repository(parts[2:], dict(scope["headers"]), receive, send)
            return
        if method != "GET":
            await _reply(send, 405, [orjson.dumps({"error": f"{method} is not known here"})])
            return
        match parts[1:]:
            case []:
                message = {"name": "edgelift-agent", "version": __version__, "extensions": EXTENSIONS}
                await _reply(send, 200, [orjson.dumps(message)])
            case ["health", "live"]:
                await _reply(send, 200, [])
            case ["health", "ready"]:
                await _reply(send, 200 if self._ready() else 503, [])
            case ["models"]:
                await _reply(send, 200, [orjson.dumps({"models": self._inference.slots.names()})])
            case ["models", "stats"]:
                slots = [self._inference.slots.get(name) for name in self._inference.slots.names()]
                await self._statistics([slot.current for slot in slots if slot and slot.current], send)
            case ["models", *rest]:
                await self._model(rest, send)
            case _:
                raise ContractError("not-found", f"There is nothing at /{'/'.join(parts)}.")

    def _ready(self) -> bool:
        """Every slot that exists serves, or is changing its model with requests waiting; at least one does."""
        slots = [self._inference.slots.get(name) for name in self._inference.slots.names()]
        return bool(slots) and all(slot is not None and (slot.current or slot.parked) for slot in slots)

    async def _model(self, parts: list[str], send: Send) -> None:
        name, version, rest = split_model(parts)
        if rest == ["ready"]:
            slot = self._inference.slots.get(name)
            generation = slot.current if slot else None
            ready = generation is not None and version in ("", str(generation.number))
            await _reply(send, 200 if ready else 503, [])
        elif rest == ["config"]:
            generation = self._generation(name, version)
            config = model_config(generation, platform_name(generation.manifest))
            await _reply(send, 200, [orjson.dumps(config)])
        elif rest == ["stats"]:
            await self._statistics([self._generation(name, version)], send)
        elif not rest:
            await _reply(send, 200, [orjson.dumps(model_metadata(self._generation(name, version)))])
        else:
            raise ContractError("not-found", f"There is nothing at {'/'.join(rest)!r} of a model.")

    async def _statistics(self, generations: list[Generation], send: Send) -> None:
        stats = [model_statistics(generation, self._inference.recorder) for generation in generations]
        await _reply(send, 200, [orjson.dumps({"model_stats": stats})])

    async def _repository(
        self, parts: list[str], headers: dict[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        body = await self._body(headers, receive)
        if parts == ["index"]:
            await _reply(send, 200, [orjson.dumps(repository_index(self._inference.slots))])
            return
        if len(parts) != 3 or parts[0] != "models" or parts[2] not in ("load", "unload"):
            raise ContractError("not-found", f"There is nothing at {'/'.join(parts)!r} of the repository.")
        if self._on_order is None:
            raise ContractError("conflict", "This server does not change its models on request.")
        arguments = repository_arguments(body)
        # The order is carried out by the worker; waiting for it must not hold up the requests of others.
        await asyncio.get_running_loop().run_in_executor(None, self._on_order, parts[2], parts[1], arguments)
        await _reply(send, 200, [])

    def _generation(self, name: str, version: str) -> Generation:
        slot = self._inference.slots.get(name)
        generation = slot.current if slot else None
        if generation is None:
            raise ContractError("not-found", f"There is no model {name!r} on this device.")
        check_version(generation, version)
        return generation

    async def _infer(self, parts: list[str], scope: Scope, receive: Receive, send: Send) -> None:
        name, version, _ = split_model(parts[2:-1])
        headers = dict(scope["headers"])
        body = await self._body(headers, receive)
        length = headers.get(HEADER_LENGTH.encode())
        if length is not None and not length.isdigit():
            raise ContractError("bad-request", f"{HEADER_LENGTH} is not a number.")
        pieces, json_length = await self._inference.infer(name, version, body, int(length) if length else None)
        extra = [] if json_length is None else [(HEADER_LENGTH.encode(), str(json_length).encode())]
        await _reply(send, 200, pieces, extra=extra, binary=json_length is not None)

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._max_body_bytes:
            raise self._too_large(int(declared))
        pieces, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ContractError("bad-request", "The client went away before its request was complete.")
            piece = message.get("body", b"")
            size += len(piece)
            if size > self._max_body_bytes:
                raise self._too_large(size)
            pieces.append(piece)
            if not message.get("more_body"):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _too_large(self, size: int) -> ContractError:
        return ContractError(
            "too-large", f"The request has {size} bytes; at most {self._max_body_bytes} are taken."
        )


def repository_arguments(body: bytes) -> str:
    """The artifact that a `load` names in its parameters, or "" for the slot's assigned one.

    Raises:
        ContractError: `bad-request`; also for uploaded files, which no one has signed.
    """
    if not body:
        return ""
    try:
        parameters = orjson.loads(body).get("parameters") or {}
    except (orjson.JSONDecodeError, AttributeError) as error:
        raise ContractError("bad-request", "The body is not a JSON object.") from error
    if any(name.startswith("file:") for name in parameters) or "config" in parameters:
        raise ContractError(
            "bad-request", "Files and configurations are not taken here; publish a release instead."
        )
    return str(parameters.get("artifact", ""))


def split_model(parts: list[str]) -> tuple[str, str, list[str]]:
    """`[m]`, `[m, rest…]` or `[m, "versions", v, rest…]` → (model, version or "", rest)."""
    if len(parts) >= 3 and parts[1] == "versions":
        return parts[0], parts[2], parts[3:]
    return parts[0], "", parts[1:]


def model_metadata(generation: Generation) -> dict[str, Any]:
    """The protocol's model metadata; digest and release stand in `parameters`."""
    manifest = generation.manifest
    return {
        "name": generation.key.slot,
        "versions": [str(generation.number)],
        "platform": platform_name(manifest),
        "inputs": [{"name": s.name, "datatype": s.dtype, "shape": s.shape} for s in manifest.inputs],
        "outputs": [{"name": s.name, "datatype": s.dtype, "shape": s.shape} for s in manifest.outputs],
        "parameters": {"artifact": generation.key.artifact, "release": f"{manifest.model}@{manifest.version}"},
    }


def platform_name(manifest: Manifest) -> str:
    """The protocol's word for a format and runtime."""
    return {"onnx": "onnx_onnxv1", "tflite": "tflite", "torchscript": "pytorch_libtorch"}[manifest.format]


async def _reply(
    send: Send,
    status: int,
    pieces: list[bytes],
    *,
    extra: list[tuple[bytes, bytes]] | None = None,
    binary: bool = False,
) -> None:
    kind = b"application/octet-stream" if binary else b"application/json"
    size = str(sum(map(len, pieces))).encode()
    headers = [(b"content-type", kind), (b"content-length", size), *(extra or [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"".join(pieces) if len(pieces) != 1 else pieces[0]})
