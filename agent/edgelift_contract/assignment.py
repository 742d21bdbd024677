"""The assignment: what a device should run in each slot.

Level-triggered: it states the wanted end, not a command, and the device converges to the latest one it saw.
Losing ten of them costs nothing once the eleventh arrives; the same one twice does nothing. At most 8 KB, so
that it fits any broker and any shadow service.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from edgelift_contract import codec
from edgelift_contract.bounds import Moment, Requests, Schema, Word
from edgelift_contract.errors import ContractError
from edgelift_contract.ids import Bytes, Count, DeviceId, Name, Sha256, Version

MAX_ASSIGNMENT_BYTES = 8 * 1024

_Seconds = Annotated[float, Meta(ge=0, le=30 * 86400)]


class Policy(msgspec.Struct, frozen=True, omit_defaults=True):
    """How an update is to be carried out and judged on the device.

    Attributes:
        probation_s: how long after the swap the new generation is watched, seconds.
        probation_min_requests: requests after which probation may judge; without traffic it judges by time.
        max_error_rate: share of failed requests in probation that swaps back.
        max_latency_ratio: new median ÷ old median that swaps back; 0 switches the check off.
        max_attempts: how often one assignment may be tried when it fails for a passing reason.
        allow_older: may the release counter be lower than one installed before (a wanted rollback).
        drain_timeout_s: how long requests on the old generation may take to end.
    """

    probation_s: _Seconds = 300.0
    probation_min_requests: Requests = 20
    max_error_rate: Annotated[float, Meta(ge=0, le=1)] = 0.02
    max_latency_ratio: Annotated[float, Meta(ge=0, le=1e6)] = 2.0
    max_attempts: Annotated[int, Meta(ge=1, le=10)] = 2
    allow_older: bool = False
    drain_timeout_s: _Seconds = 30.0


class SlotAssignment(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one slot should run.

    Attributes:
        artifact: the artifact's id, which is its manifest's SHA-256.
        manifest_bytes: length of the manifest, so that the device can bound its fetch.
        model, version: for people and telemetry; the manifest must say the same.
        policy: how to update.
        rollout: id of the rollout that asked for this; empty for a direct assignment.
        asked: the device's revision at which this slot was last asked for; a failed update is begun afresh when it
            was asked for again. 0 from a host that doesn't say: then every new revision asks for all slots.
        placebo: names an occasion; a device that serves this artifact already swaps to it once more, for each new name
            once: a control that is to live through what a swap brings, whichever model comes. An agent from before
            there was this field swaps to nothing and says *committed*.
    """

    artifact: Sha256
    manifest_bytes: Bytes
    model: Name
    version: Version
    policy: Policy = Policy()
    rollout: Word = ""
    asked: Count = 0
    placebo: Annotated[str, Meta(max_length=64)] = ""


class Assignment(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a device should run.

    Attributes:
        schema: version of this format.
        device: whom it is for; a device refuses another's.
        revision: grows by one with every change for this device.
        issued_at: host's clock, seconds since 1970.
        slots: slot name → what it should run; a slot left out is to be emptied.
    """

    SCHEMA: ClassVar[int] = 1

    schema: Schema
    device: DeviceId
    revision: Count
    issued_at: Moment = 0.0
    slots: Annotated[dict[Name, SlotAssignment], Meta(max_length=64)] = {}


def dump_assignment(assignment: Assignment) -> bytes:
    """Canonical bytes.

    Raises:
        ContractError: `too-large` when it has more slots than 8 KB can name.
    """
    data = codec.canonical_json(assignment)
    if len(data) > MAX_ASSIGNMENT_BYTES:
        raise ContractError(
            "too-large", f"The assignment has {len(data)} bytes; at most {MAX_ASSIGNMENT_BYTES} are allowed."
        )
    return data


def parse_assignment(data: bytes, *, device: str) -> Assignment:
    """Read an assignment meant for `device`.

    Raises:
        ContractError: `too-large`, `malformed`, `unknown-schema`, or `wrong-device`.
    """
    assignment = codec.decode_json(data, Assignment, what="assignment", limit_bytes=MAX_ASSIGNMENT_BYTES)
    if assignment.device != device:
        raise ContractError(
            "wrong-device", f"An assignment for {assignment.device!r} reached {device!r}; it was ignored."
        )
    return assignment
