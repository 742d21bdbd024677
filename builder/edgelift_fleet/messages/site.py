"""Releases and the server itself, as the control plane answers them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from edgelift_contract.manifest import SourceSignature
from edgelift_contract.meaning import Metadata, TensorMeaning


class ArtifactView(msgspec.Struct, frozen=True):
    """One artifact of a release."""

    id: str
    hardware_class: str
    targets: list[str]
    runtime: str
    format: str
    variant: str
    rank: int
    size_bytes: int


class ReleaseView(msgspec.Struct, frozen=True):
    """A release; `running` counts the slots that serve it now; `fault` says why it can't be read, and what to do.
    `retired_at`: since when it is given to nobody new, 0 for never; and why, as a person said.
    """

    model: str
    version: str
    release_counter: int
    published_at: float
    artifacts: list[ArtifactView]
    running: int
    fault: str = ""
    retired_at: float = 0.0
    retired_why: str = ""


class ReleaseUses(msgspec.Struct, frozen=True):
    """What names a release, each up to 1,000 names; `counts` says how many there are, of those that there are.

    Attributes:
        assigned: devices that should run it.
        rollouts: those of it that have not ended, with their state.
        going_back: devices that a rollback would take back to it, with the rollout.
        serving: devices that say it serves on them.
    """

    assigned: list[str]
    rollouts: list[str]
    going_back: list[str]
    serving: list[str]
    counts: dict[str, int] = {}


class ReleaseMeaning(msgspec.Struct, frozen=True):
    """What a release's source told of it, for clients and people; nothing of it is applied to tensors.

    Attributes:
        inputs, outputs: what the numbers mean of those that it told of, by name.
        metadata: its free table.
    """

    inputs: dict[str, TensorMeaning] = {}
    outputs: dict[str, TensorMeaning] = {}
    metadata: Metadata = {}


class ReleaseDetail(msgspec.Struct, frozen=True):
    """A release, and what names it: it can be deleted when nothing does.

    Attributes:
        release, uses: what it has, and what names it.
        signatures: those that its sources came with.
        allow_older: the builders let devices go back to it that have run a newer one.
        meanings: what its source told of it: one, where its artifacts are of one source; none where that told nothing.
    """

    release: ReleaseView
    uses: ReleaseUses
    signatures: list[SourceSignature] = []
    allow_older: bool = False
    meanings: list[ReleaseMeaning] = []


class RetireRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a release is retired."""

    why: Annotated[str, Meta(max_length=2000)] = ""


class BlobReply(msgspec.Struct, frozen=True):
    """A file of a release that came. `new`: it was not here; `mended`: it was, and no longer what its name says."""

    sha256: str
    size_bytes: int
    new: bool
    mended: bool


class PublishReply(msgspec.Struct, frozen=True):
    """A release that is published now; `new` is False when it was already; `size_bytes` of all its files."""

    release: str
    new: bool
    artifacts: int
    size_bytes: int


class Load(msgspec.Struct, frozen=True):
    """What the server carries just now, and how much of each it could.

    Attributes:
        connections, connections_limit: of its HTTP side.
        parked_polls: of them, long polls that wait.
        waiting_messages: reports and telemetry that came and aren't stored yet.
        descriptors, descriptors_limit: files and sockets of its process.
    """

    connections: int = 0
    connections_limit: int = 0
    parked_polls: int = 0
    waiting_messages: int = 0
    descriptors: int = 0
    descriptors_limit: int = 0


class ServerHealth(msgspec.Struct, frozen=True):
    """Of the server. `broker`: `connected`, `disconnected` or `none`. `leads`: of several servers of a site, the one
    that drives rollouts. `damaged_blobs`: set aside because they are no longer what they were; see the releases.
    `warnings`: what of the signed metadata ends soon, and what to do.
    """

    site: str
    version: str
    uptime_s: float
    devices: int
    broker: str
    leads: bool = True
    load: Load = Load()
    damaged_blobs: int = 0
    warnings: list[str] = []
