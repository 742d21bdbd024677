"""What two signers say of one artifact, and how it travels to a device: the words that both TUF repositories share.

The *image* repository says what is genuine, and for which hardware, by keys that are kept offline. The *director* says
what one device is to run, by the control plane's key. A device installs what both name alike (docs/trust.md).

An artifact is a target: its manifest, by length and SHA-256, which fixes all its files. Hardware class, runtime and model
stand in the target's *path*, because a delegation binds paths, and never what a target says beside them
(sigstore/sigstore#562); what is said beside must give the same path.
"""

from __future__ import annotations

import zlib
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from edgelift_contract import codec
from edgelift_contract.bounds import Schema
from edgelift_contract.errors import ContractError
from edgelift_contract.hardware import HardwareClass
from edgelift_contract.ids import Bytes, Count, DeviceId, Name, Nonce, Sha256, Version
from edgelift_contract.manifest import Manifest, RuntimeName

IMAGE, DIRECTOR = "image", "director"
#: The director's target that is the assignment itself; its bytes travel beside the metadata.
ASSIGNMENT = "assignment.json"

#: Header on a poll: what the device asks to have signed into what it is given, so that it can't be old.
NONCE_HEADER = "Edgelift-Nonce"
#: What the answer to a poll calls itself when it is signed.
SIGNED_MEDIA = "application/vnd.edgelift.signed"

#: Of signed metadata as it travels, and of its files together, bytes.
MAX_SIGNED_BYTES = 512 * 1024
MAX_FILES_BYTES = 4 << 20
_MAX_FILES = 600

#: The roots that a device is to trust from its enrolment on, by repository.
Roots = Annotated[dict[Name, Annotated[str, Meta(max_length=64 * 1024)]], Meta(max_length=2)]

FileName = Annotated[str, Meta(pattern=r"^(image|director)/[A-Za-z0-9][A-Za-z0-9_.-]{0,199}\.json\Z")]


class Genuine(msgspec.Struct, frozen=True, kw_only=True):
    """What a target says of its artifact: the same in both repositories, and in the manifest."""

    hardware_class: HardwareClass
    runtime: RuntimeName
    model: Name
    version: Version
    release_counter: Count


class Listing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the image repository alone says of a target, beside what is genuine of it.

    Attributes:
        allow_older: the builders let devices go back to it that have run a higher release counter.
    """

    allow_older: bool = False


class Vouched(msgspec.Struct, frozen=True, kw_only=True):
    """What was signed of one artifact, beside its digest.

    Attributes:
        manifest_bytes: the length of its manifest.
        said: what it is.
        allow_older: see `Listing`.
    """

    manifest_bytes: Bytes
    said: Genuine
    allow_older: bool = False


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the director signs into its timestamp beside what TUF knows.

    Attributes:
        device_id: whom it is for; it stands in the director's snapshot and targets too.
        issued_at: the control plane's clock when it signed, whole seconds since 1970: what TUF signs has no fractions.
        nonce: the device's own, as it told it last; empty where nobody could ask it, as on a stick.
    """

    device_id: DeviceId
    issued_at: Annotated[int, Meta(ge=0, le=9_223_372_036)]
    nonce: Nonce = ""


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a device needs to judge an assignment, in one piece, whichever way it comes.

    Attributes:
        device: whom it is for.
        files: `director/timestamp.json` and the like → their text, and the assignment's.
    """

    SCHEMA: ClassVar[int] = 1

    schema: Schema
    device: DeviceId
    files: Annotated[dict[FileName, Annotated[str, Meta(max_length=MAX_FILES_BYTES)]], Meta(max_length=_MAX_FILES)]


def genuine(manifest: Manifest) -> Genuine:
    """What is signed of a manifest."""
    return Genuine(
        hardware_class=manifest.hardware_class, runtime=manifest.runtime, model=manifest.model,
        version=manifest.version, release_counter=manifest.release_counter,
    )  # fmt: skip


def same_as_signed(manifest: Manifest, size_bytes: int, signed: Vouched) -> None:
    """A manifest's length and its own words must be those that were signed of it.

    Args:
        manifest: matched to its digest already.
        size_bytes: of it.
        signed: of this digest.

    Raises:
        ContractError: `not-agreed`.
    """
    name = f"{manifest.model}@{manifest.version}"
    if size_bytes != signed.manifest_bytes:
        raise ContractError(
            "not-agreed", f"The manifest of {name} has {size_bytes} bytes; signed are {signed.manifest_bytes}."
        )
    said = genuine(manifest)
    if said != signed.said:
        raise ContractError(
            "not-agreed",
            f"The manifest says {codec.canonical_json(said).decode()}, signed is"
            f" {codec.canonical_json(signed.said).decode()}.",
        )


def target_path(artifact: Sha256, said: Genuine) -> str:
    """The path of an artifact's target: `a/<hardware class>/<runtime>/<model>/<artifact>`."""
    return f"a/{said.hardware_class}/{said.runtime}/{said.model}/{artifact}"


def pack_signed(signed: Signed) -> bytes:
    """As it travels.

    Raises:
        ContractError: `too-large`.
    """
    data = zlib.compress(codec.canonical_json(signed), 6)
    if len(data) > MAX_SIGNED_BYTES:
        raise ContractError(
            "too-large", f"The signed metadata has {len(data)} bytes; at most {MAX_SIGNED_BYTES} are allowed."
        )
    return data


def is_signed(data: bytes) -> bool:
    """Is it packed by `pack_signed`, rather than an assignment that nobody signed?"""
    return data[:1] == b"\x78"


def unpack_signed(data: bytes, *, device: str) -> Signed:
    """Read what `pack_signed` made for `device`; nothing in it is trusted yet.

    Raises:
        ContractError: `too-large`, `malformed`, `unknown-schema` or `wrong-device`.
    """
    if len(data) > MAX_SIGNED_BYTES:
        raise ContractError("too-large", f"The signed metadata has more than {MAX_SIGNED_BYTES} bytes.")
    signed = codec.decode_json(_inflated(data), Signed, what="signed metadata", limit_bytes=MAX_FILES_BYTES)
    if signed.device != device:
        raise ContractError(
            "wrong-device", f"Signed metadata for {signed.device!r} reached {device!r}; it was ignored."
        )
    return signed


def _inflated(data: bytes) -> bytes:
    """At most a byte more than is allowed: what unfolds into more is never held as a whole."""
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(data, MAX_FILES_BYTES + 1)
    except zlib.error as error:
        raise ContractError("malformed", f"The signed metadata can't be unpacked: {error}.") from error
    if len(text) <= MAX_FILES_BYTES and not (unpacker.eof and not unpacker.unused_data):
        raise ContractError("malformed", "The signed metadata is cut short, or has something after its end.")
    return text
