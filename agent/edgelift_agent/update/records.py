"""What the agent must still know after a power cut, as typed records: slots, updates, and one for the whole device.

A field may be added with a default, so that what an older agent wrote still reads. No I/O here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated

import msgspec

from edgelift_contract.assignment import Assignment, SlotAssignment
from edgelift_contract.ids import Sha256
from edgelift_contract.report import Outcome
from edgelift_contract.signed import Vouched
from edgelift_contract.telemetry import SwapRecord

log = logging.getLogger(__name__)

#: Artifact → what was signed of it; an assignment names no more slots.
_Signed = Annotated[dict[Sha256, Vouched], msgspec.Meta(max_length=64)]


class SlotRow(msgspec.Struct, omit_defaults=True):
    """What a slot has committed to.

    Attributes:
        artifact, model, version: what serves, also after a restart; empty for none.
        serving: number of the generation under which the committed artifact serves.
        generation: highest number that this slot ever gave out; numbers are never used twice.
        previous, previous_version: what served before, kept on disk for a rollback.
        lost: what served and was given up because the disk had damaged it, two at most: not there any more, and still what
            this slot may be told to go back to.
        since: wall clock at which the committed artifact began to serve.
        starts: starts of the process with this artifact that did not end cleanly or live long.
        pinned: a person asked for this slot to be left alone.
    """

    artifact: str = ""
    model: str = ""
    version: str = ""
    serving: int = 0
    generation: int = 0
    previous: str = ""
    previous_version: str = ""
    lost: list[str] = []
    since: float = 0.0
    starts: int = 0
    pinned: bool = False

    @property
    def before(self) -> set[str]:
        """What this slot ran just before, also where it was lost."""
        return {self.previous, *self.lost} - {""}


class UpdateRow(msgspec.Struct, omit_defaults=True):
    """The update under way in a slot, or the last one.

    Attributes:
        desired: what the assignment asked for.
        revision: of that assignment.
        state: see `machine.State`; written before the state's step acts.
        attempts: how often this desire was begun.
        rollbacks: how often rolling back was tried.
        outcome, code, message, finished_at: how it ended.
        failed_in: the state whose step failed.
        observed_s: probation already passed before a clean stop, seconds.
        requests, errors: served in probation.
        fetched_bytes: over the link.
        took_s: state → how long it took so far, seconds; see `UpdateReport`.
        wrong_bytes: digest of a blob → how often it came whole and with another digest.
        record: the swap record as far as it is known.
    """

    desired: SlotAssignment
    revision: int
    state: str = "idle"
    attempts: int = 0
    rollbacks: int = 0
    outcome: Outcome = "none"
    code: str = ""
    message: str = ""
    failed_in: str = ""
    finished_at: float = 0.0
    observed_s: float = 0.0
    requests: int = 0
    errors: int = 0
    fetched_bytes: int = 0
    took_s: dict[str, float] = {}
    wrong_bytes: dict[str, int] = {}
    record: SwapRecord | None = None


class Meta(msgspec.Struct, omit_defaults=True):
    """The one record of the whole device.

    Attributes:
        assignment: newest accepted assignment, as it came.
        revision_seen, revision_applied: its revision, and the newest carried out to the end.
        starts: how often the process started.
        clean: was the last stop a clean one.
        floors: model → highest release counter ever committed.
        outbox: name of this file's sequence of telemetry items, made once; numbers are unique within it.
        signed: what was signed of the artifacts that `assignment` names, see `signed_of`; empty where nobody signs.
    """

    assignment: bytes = b""
    signed: bytes = b""
    revision_seen: int = 0
    revision_applied: int = 0
    starts: int = 0
    clean: bool = True
    floors: dict[str, int] = {}
    outbox: str = ""


class Records(msgspec.Struct):
    """Everything that is remembered, read once at start.

    Attributes:
        meta: of the whole device; slots, updates: by the slot's name.
        lost: what could not be read and was left out, in words.
    """

    meta: Meta = msgspec.field(default_factory=Meta)
    slots: dict[str, SlotRow] = {}
    updates: dict[str, UpdateRow] = {}
    lost: list[str] = []


def kept_artifacts(records: Records) -> set[str]:
    """Artifacts that may not be cleaned up: committed, previous, or wanted by an update under way or still to begin."""
    kept = {artifact for row in records.slots.values() for artifact in (row.artifact, row.previous)}
    kept |= {update.desired.artifact for update in records.updates.values() if update.state != "idle"}
    return (kept | _not_begun(records)) - {""}


def _not_begun(records: Records) -> set[str]:
    """What is assigned and no update was begun for: a stick may have brought it, and be gone."""
    if not records.meta.assignment:
        return set()
    try:
        wanted = msgspec.json.decode(records.meta.assignment, type=Assignment).slots
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return set()  # as good as none
    begun = {slot: update.desired.artifact for slot, update in records.updates.items()}
    return {one.artifact for slot, one in wanted.items() if begun.get(slot) != one.artifact}


def signed_of(meta: Meta) -> dict[str, Vouched]:
    """Artifact → what was signed of it, of those that the assignment names.

    A record of its own within `Meta`: what an agent of another release wrote there and this one can't read (a hardware
    class that it doesn't know) takes nothing else along, and is asked for again.
    """
    if not meta.signed:
        return {}
    try:
        return msgspec.json.decode(meta.signed, type=_Signed)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        log.error("what was signed of the kept assignment can't be read: %s", error)
        return {}


def dump_signed(signed: Mapping[str, Vouched]) -> bytes:
    """As `signed_of` reads it."""
    return msgspec.json.encode(dict(sorted(signed.items()))) if signed else b""
