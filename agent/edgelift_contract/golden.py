"""Goldens: inputs with the outputs they must give, shipped in every artifact.

One MessagePack file holds all of an artifact's goldens; tensors are raw little-endian bytes in row-major
order, so that neither side needs more than msgspec to read them. Comparing needs numpy and lives with the
runtimes; the tolerance is the manifest's.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from edgelift_contract import codec
from edgelift_contract.bounds import LongName, Schema
from edgelift_contract.ids import Count
from edgelift_contract.manifest import DataType, SessionOptions

#: Goldens are few and small: a file over this size is refused before it is read, bytes.
MAX_GOLDENS_BYTES = 64 * 1024 * 1024


class Tensor(msgspec.Struct, frozen=True, array_like=True):
    """A named array. `data` is little-endian, row-major: len(data) == product(shape) × element size."""

    name: LongName
    dtype: DataType
    shape: Annotated[list[Count], Meta(max_length=16)]
    data: Annotated[bytes, Meta(max_length=MAX_GOLDENS_BYTES)]


class Golden(msgspec.Struct, frozen=True, array_like=True):
    """One input set and the outputs it must give."""

    inputs: Annotated[list[Tensor], Meta(max_length=256)]
    outputs: Annotated[list[Tensor], Meta(max_length=256)]


class GoldenFile(msgspec.Struct, frozen=True):
    """All goldens of one artifact."""

    SCHEMA: ClassVar[int] = 1

    schema: Schema
    goldens: Annotated[list[Golden], Meta(max_length=4096)]


def dump_goldens(goldens: list[Golden]) -> bytes:
    """The file's bytes. Law: `parse_goldens(dump_goldens(g)) == g`; equal goldens give equal bytes."""
    return codec.encode_msgpack(GoldenFile(schema=GoldenFile.SCHEMA, goldens=goldens))


def parse_goldens(data: bytes) -> list[Golden]:
    """Read a goldens file.

    Raises:
        ContractError: `too-large`, `malformed` or `unknown-schema`.
    """
    return codec.decode_msgpack(data, GoldenFile, what="goldens file", limit_bytes=MAX_GOLDENS_BYTES).goldens


def tolerance_key(kernels: str, runtime: str, version: str, options: SessionOptions) -> str:
    """The key within which a golden's outputs are equal to the bit (see `manifest.Tolerance`).

    Args:
        kernels: `hardware.these_kernels` of the machine that runs the model, whatever the artifact was built for.
        runtime: its name in manifests, as `onnxruntime`.
        version: of the runtime's package; torch's without its local part (`2.13.0`, not `2.13.0+cpu`).
        options: as the manifest has them.

    Returns:
        As `x86-64-vnni+avx512f/onnxruntime 1.32.0/3f2a9c01d4e5`, ending in 12 digits of the options' SHA-256.
    """
    return f"{kernels}/{runtime} {version}/{codec.digest(codec.canonical_json(options))[:12]}"
