"""What the control plane answers to what devices send, and how a device knows that it was the control plane.

Between a device and its host stand portals, proxies and caches that answer in the host's place, in HTML and in JSON.
So nothing counts as delivered before the host's own reply to this very message was read, and nothing counts as
refused unless an `ErrorReply` with a known code came under the mark below. A proxy that takes the mark away makes a
refusal look like trouble on the way: it is tried again, which is the harmless mistake of the two.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from edgelift_contract.bounds import Schema, Text, Word
from edgelift_contract.ids import Count, DeviceId, Epoch

#: Header on every answer of the control plane, with the version of the API as its value.
MARK, MARK_VALUE = "Edgelift", "1"
#: Header on a device's requests: the epoch of the process that asks. Two that alternate are two devices of one id.
EPOCH_HEADER = "Edgelift-Epoch"
#: Header on a poll: SHA-256 of the assignment that the device holds; a host restored from a backup may count as far
#: as the device has seen and still mean something else.
ASSIGNMENT_HEADER = "Edgelift-Assignment"

#: No reply of a kind below is larger, bytes.
MAX_REPLY_BYTES = 16 * 1024


class ReportReply(msgspec.Struct, frozen=True, kw_only=True):
    """The host has this report.

    Attributes:
        device, epoch, sequence: the report's own.
        news: False when a newer one was there already.
        duplicate: another process speaks under this device's id as well: a cloned card, or one id given twice.
    """

    SCHEMA: ClassVar[int] = 1

    schema: Schema
    device: DeviceId
    epoch: Epoch
    sequence: Count
    news: bool = True
    duplicate: bool = False


class BatchReply(msgspec.Struct, frozen=True, kw_only=True):
    """The host has this batch.

    Attributes:
        device, epoch: the batch's own.
        last: highest sequence number in it; -1 of an empty one.
        new: how many of its items the host did not have.
    """

    SCHEMA: ClassVar[int] = 1

    schema: Schema
    device: DeviceId
    epoch: Epoch
    last: Annotated[int, Meta(ge=-1, le=2**53)]
    new: Count = 0


class ErrorReply(msgspec.Struct, frozen=True):
    """Every refusal: what was wrong, its stable code, and what to do."""

    error: Text
    code: Word
    hint: Text = ""
