"""Enrolment: how a device and its control plane first meet.

For now a token that both sides were given beforehand; the messages leave room for the certificates to come.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from edgelift_contract.bounds import Line, Schema, Tags, Word
from edgelift_contract.ids import DeviceId
from edgelift_contract.report import DeviceFacts
from edgelift_contract.signed import Roots


class EnrolRequest(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`POST /v1/enroll`, with the pre-shared token as bearer.

    Attributes:
        agent_version: release of the agent; one from before there was this field doesn't say.
    """

    SCHEMA: ClassVar[int] = 1

    schema: Schema
    device: DeviceId
    facts: DeviceFacts
    tags: Tags = {}
    agent_version: Word = ""


class BrokerAccess(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the MQTT broker is and who the device is there."""

    host: Line
    #: Also one that no broker can have: it costs the device MQTT, and not the reply by which HTTP carries everything.
    port: Annotated[int, Meta(ge=-(2**53), le=2**53)]
    username: Line = ""
    password: Line = ""
    tls: bool = False


class EnrolReply(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a device needs to go on.

    Attributes:
        broker: None where the site has none: HTTP long poll carries everything.
        poll_wait_s: how long a long poll may be held open, seconds.
        host_version: release of the control plane; one from before there was this field doesn't say.
        roots: whom a device that trusts nobody yet is to trust; empty where nothing is signed.
    """

    SCHEMA: ClassVar[int] = 1

    schema: Schema
    device: DeviceId
    broker: BrokerAccess | None = None
    poll_wait_s: Annotated[float, Meta(ge=0, le=3600)] = 30.0
    host_version: Word = ""
    roots: Roots = {}
