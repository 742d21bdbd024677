"""The bundle: a board's logs and what its doctor finds, in one file, for a person who asked for it.

An operator asks; the host tells the board which bundle is wanted (a header on its polls, a message over MQTT); the
board makes it and brings it over HTTP. Both sides hold the same bounds.

A bundle is a gzipped tar of plain files with plain names, the first of which, `about.json`, says whose it is and which.
It has one form only: what `pack` makes of its files. So whoever unpacks it meets no path, no link and no surprise: the
host rebuilds what came and refuses what is not the same.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from edgelift_contract import codec
from edgelift_contract.bounds import Moment, Schema, Text, Word
from edgelift_contract.errors import ContractError
from edgelift_contract.ids import NAME_PATTERN, Count, DeviceId, Name

#: Of a bundle as it travels, and of all its files together, bytes.
MAX_BUNDLE_BYTES = 4 << 20
MAX_UNPACKED_BYTES = 16 << 20
MAX_FILES = 32
#: What a device says in its facts (`abilities`) when it can be asked for one.
BUNDLE_ABILITY = "bundle"
#: Header: on the host's answer to a poll, the bundle that it wants; on the device's poll, the one that it has heard of;
#: on a bundle that is brought, which it is.
BUNDLE_HEADER = "Edgelift-Bundle"
#: The file that says whose it is.
ABOUT = "about.json"

BUNDLE_ID_PATTERN = r"^[0-9a-f]{32}\Z"
BundleId = Annotated[str, Meta(pattern=BUNDLE_ID_PATTERN)]

_BLOCK = 512
#: The tar's form gives a time eleven octal digits.
_LATEST = 8**11 - 1


class BundleAsked(msgspec.Struct, frozen=True, kw_only=True):
    """Over MQTT, not retained: this bundle is wanted of this device. One that is lost costs a poll."""

    SCHEMA: ClassVar[int] = 1

    schema: Schema
    device: DeviceId
    bundle: BundleId


class BundleReply(msgspec.Struct, frozen=True, kw_only=True):
    """The host has this bundle."""

    SCHEMA: ClassVar[int] = 1

    schema: Schema
    device: DeviceId
    bundle: BundleId
    size_bytes: Count


class BundleAbout(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`about.json`.

    Attributes:
        device, bundle: whose it is, and which.
        made_at: device's clock, seconds since 1970.
        agent_version: release of the agent.
        missing: file → why it is not here.
    """

    SCHEMA: ClassVar[int] = 1

    schema: Schema
    device: DeviceId
    bundle: BundleId
    made_at: Moment
    agent_version: Word = ""
    missing: Annotated[dict[Name, Text], Meta(max_length=MAX_FILES)] = {}


def is_bundle_id(text: str) -> bool:
    """Does this name a bundle?"""
    return re.match(BUNDLE_ID_PATTERN, text) is not None


def pack(about: BundleAbout, files: Mapping[str, bytes]) -> bytes:
    """The bundle of these files, `about.json` before them.

    Raises:
        ContractError: `too-large`, `bad-path`: as the host would refuse it.
    """
    whole = {ABOUT: codec.canonical_json(about), **files}
    tar = _tar(whole, about.made_at)
    compressor = zlib.compressobj(6, zlib.DEFLATED, 31)
    data = compressor.compress(tar) + compressor.flush()
    if len(data) > MAX_BUNDLE_BYTES:
        raise ContractError(
            "too-large", f"The bundle has {len(data)} bytes; at most {MAX_BUNDLE_BYTES} are allowed."
        )
    return data


def unpack(data: bytes, *, device: str, bundle: str) -> dict[str, bytes]:
    """The files of a bundle that this device was asked for: name → bytes, `about.json` first.

    Raises:
        ContractError: `too-large`, `malformed`, `bad-path`, `unknown-schema`, or `wrong-device` for another's.
    """
    tar = _decompressed(data)
    files = _files(tar)
    if next(iter(files), "") != ABOUT:
        raise ContractError("malformed", f"The bundle does not begin with {ABOUT}.")
    about = codec.decode_json(files[ABOUT], BundleAbout, what="bundle's about.json")
    if (about.device, about.bundle) != (device, bundle):
        raise ContractError(
            "wrong-device", f"The bundle is {about.bundle} of {about.device!r}, and not {bundle} of {device!r}."
        )
    if _tar(files, about.made_at) != tar:
        raise ContractError("malformed", "The bundle is not of the one form that bundles have.")
    return files


def _decompressed(data: bytes) -> bytes:
    if len(data) > MAX_BUNDLE_BYTES:
        raise ContractError(
            "too-large", f"The bundle has {len(data)} bytes; at most {MAX_BUNDLE_BYTES} are allowed."
        )
    if data[3:4] != b"\0":
        raise ContractError("malformed", "The bundle is no plain gzip file.")  # a name in its head, or none at all
    decompressor = zlib.decompressobj(31)
    try:
        tar = decompressor.decompress(data, MAX_UNPACKED_BYTES + 1)
    except zlib.error as error:
        raise ContractError("malformed", f"The bundle is damaged: {error}.") from error
    if len(tar) > MAX_UNPACKED_BYTES:
        raise ContractError("too-large", f"The bundle's files have more than {MAX_UNPACKED_BYTES} bytes.")
    if not decompressor.eof or decompressor.unused_data:
        raise ContractError("malformed", "The bundle is cut short, or something follows it.")
    return tar


def _files(tar: bytes) -> dict[str, bytes]:
    """As the tar's heads say; whether they say it in our form is found by making it again."""
    files: dict[str, bytes] = {}
    at = 0
    while any(head := tar[at : at + _BLOCK]):
        name = head[:100].rstrip(b"\0").decode("ascii", "replace")
        size = head[124:135]
        if not re.fullmatch(rb"[0-7]{11}", size):
            raise ContractError("malformed", "The bundle's tar can't be read.")
        _check_name(name)
        if name in files or len(files) >= MAX_FILES:
            raise ContractError("malformed", f"The bundle has {name!r} twice, or more than {MAX_FILES} files.")
        begin = at + _BLOCK
        end = begin + int(size, 8)
        files[name] = tar[begin:end]
        at = end + -end % _BLOCK
    return files


def _check_name(name: str) -> None:
    if not re.match(NAME_PATTERN, name):
        raise ContractError("bad-path", f"The bundle's file {name[:80]!r} is no plain name.")


def _tar(files: Mapping[str, bytes], at: float) -> bytes:
    if len(files) > MAX_FILES or sum(len(data) + 2 * _BLOCK for data in files.values()) > MAX_UNPACKED_BYTES:
        raise ContractError(
            "too-large", f"The bundle has more than {MAX_FILES} files or {MAX_UNPACKED_BYTES} bytes."
        )
    pieces = []
    for name, data in files.items():
        _check_name(name)
        pieces += [_head(name, len(data), min(int(at), _LATEST)), data, bytes(-len(data) % _BLOCK)]
    return b"".join((*pieces, bytes(2 * _BLOCK)))


def _head(name: str, size: int, at: int) -> bytes:
    """A file's head in POSIX's ustar form (IEEE Std 1003.1, pax, "ustar Interchange Format")."""
    head = b"".join((
        name.encode().ljust(100, b"\0"), b"0000600\0", b"0000000\0" * 2, b"%011o\0" % size, b"%011o\0" % at,
        b" " * 8, b"0", bytes(100), b"ustar\00000", bytes(64), b"0000000\0" * 2, bytes(167),
    ))  # fmt: skip
    return head[:148] + b"%06o\0 " % sum(head) + head[156:]
