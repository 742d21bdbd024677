"""Enrolment: how a device introduces itself, first and at every start; see `identity` for what it is known by."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from edgelift_contract.bounds import Line, Schema, Tags, Word
from edgelift_contract.identity import Certified
from edgelift_contract.ids import DeviceId
from edgelift_contract.report import DeviceFacts
from edgelift_contract.signed import Roots


class EnrolRequest(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`POST /v1/enroll`, under the device's certificate, or with a token as bearer.

    Attributes:
        agent_version: release of the agent; one from before there was this field doesn't say.
        csr: a request for a certificate (PKCS #10, PEM), by whoever has none yet or has one that ends soon.
    """

    SCHEMA: ClassVar[int] = 1

    schema: Schema
    device: DeviceId
    facts: DeviceFacts
    tags: Tags = {}
    agent_version: Word = ""
    csr: Annotated[str, Meta(max_length=4096)] = ""


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
        certify: it should ask for a certificate now: it has none and may have one, or its own ends soon.
        identity: what it is known by from now on, where it asked for that.
    """

    SCHEMA: ClassVar[int] = 1

    schema: Schema
    device: DeviceId
    broker: BrokerAccess | None = None
    poll_wait_s: Annotated[float, Meta(ge=0, le=3600)] = 30.0
    host_version: Word = ""
    roots: Roots = {}
    certify: bool = False
    identity: Certified | None = None
