"""An assignment that a person carried here on a stick: judged by the agent's own verifier, then carried out as any other.

It answers no question of this device, so what protects it from an old one is the time floor, the release counter and the
end of its own time. Blobs are in the store before the assignment is taken: from then on the stick may be gone.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgelift_agent.artifact.carried import CarriedFolder, Carrying
from edgelift_agent.config import Config
from edgelift_agent.parts.state_folder import StateFolder
from edgelift_agent.parts.this_machine import ThisMachine
from edgelift_agent.parts.trust import Trust
from edgelift_agent.ports import Opened
from edgelift_agent.system.clock import SystemClock
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.disk import Disk
from edgelift_agent.update.records import dump_signed, signed_of
from edgelift_contract import codec
from edgelift_contract.assignment import Assignment, parse_assignment
from edgelift_contract.errors import ContractError, DeviceError, EdgeliftError
from edgelift_contract.telemetry import DeviceEvent

log = logging.getLogger(__name__)

#: kind, message and code of an event; told to the host with what is sent next.
Tell = Callable[[str, str, str], None]


class Importing:
    """Takes what was carried here; one at a time, from any thread."""

    def __init__(
        self, device: str, trust: Trust, state: StateFolder, reserve_bytes: int,
        accept: Callable[[Opened], None], tell: Tell,
    ) -> None:  # fmt: skip
        """Bind.

        Args:
            device: this device's id.
            trust: judges what was signed.
            state: the agent's folder.
            reserve_bytes: left alone on its disk.
            accept: takes the assignment, once all that it needs is in the store.
            tell: of how it ended.
        """
        self._device, self._trust, self._state, self._reserve_bytes = device, trust, state, reserve_bytes
        self._accept, self._tell = accept, tell
        self._lock = threading.Lock()

    def take(self, folder: Path) -> dict[str, Any]:
        """Take the assignment for this device from a folder; see `edgelift_contract.carried`.

        Returns:
            `revision`, `slots`, `copied_bytes`, `message`.

        Raises:
            ContractError, TransportError, DeviceError: as `Trust.carried` and `Carrying.bring`; `older-assignment`; `busy`
                while another one is taken. What serves is left as it was.
        """
        if not self._lock.acquire(blocking=False):
            raise DeviceError("busy", "Another folder is being imported.", hint="Try again when it is done.")
        try:
            taken = self._take(folder)
        except EdgeliftError as error:
            log.warning("import refused code=%s %s", error.code, error)
            self._tell("import-refused", error.message, error.code)
            raise
        finally:
            self._lock.release()
        log.info("imported revision=%d bytes=%d", taken["revision"], taken["copied_bytes"])
        self._tell("imported", taken["message"], "")
        return taken

    def _take(self, folder: Path) -> dict[str, Any]:
        carried = CarriedFolder(folder)
        opened = self._trust.carried(carried.signed(self._device))
        assignment = parse_assignment(opened.assignment, device=self._device)
        data = codec.recoded(opened.assignment, what="assignment")
        held = self._is_held(assignment, data)
        with Carrying(carried, self._state.store, reserve_bytes=self._reserve_bytes) as bringing:
            self._bring(bringing, assignment)
            self._accept(Opened(data, opened.signed))
        message = (
            f"Revision {assignment.revision} is held already; what it needs is here."
            if held
            else f"Took revision {assignment.revision} from {folder}; the folder is not needed any more."
        )
        return {
            "revision": assignment.revision, "slots": sorted(assignment.slots),
            "copied_bytes": bringing.copied_bytes, "message": message,
        }  # fmt: skip

    def _is_held(self, assignment: Assignment, data: bytes) -> bool:
        meta = self._state.journal.meta
        same = assignment.revision == meta.revision_seen and data == meta.assignment
        if assignment.revision <= meta.revision_seen and meta.assignment and not same:
            raise ContractError(
                "older-assignment",
                f"The folder has revision {assignment.revision}; this device has seen {meta.revision_seen}.",
                hint="Export it once more.",
            )
        return same

    def _bring(self, bringing: Carrying, assignment: Assignment) -> None:
        rows = self._state.journal.slots
        for slot, wanted in assignment.slots.items():
            row = rows.get(slot)
            if row is None or row.artifact != wanted.artifact:
                bringing.bring(wanted.artifact, wanted.manifest_bytes)


def import_offline(config: Config, folder: Path) -> dict[str, Any]:
    """Take an assignment while no agent runs: it is carried out when one is started.

    Raises:
        DeviceError: `already-running`, `not-allowed` for a user whose files an agent could not read; else as
            `Importing.take`.
    """
    state_dir = Path(config.state_dir)
    _become_owner(state_dir)
    clock, disk = SystemClock(), Disk()
    degraded = Degraded(clock)
    state = StateFolder(state_dir, disk, degraded)
    try:
        journal, machine = state.journal, ThisMachine(state_dir, degraded, None, None)

        def accept(opened: Opened) -> None:
            wanted = parse_assignment(opened.assignment, device=config.device)
            signed = {**signed_of(journal.meta), **opened.signed}
            kept = {
                slot.artifact: signed[slot.artifact] for slot in wanted.slots.values() if slot.artifact in signed
            }
            with journal.transaction():
                journal.meta.assignment, journal.meta.signed = opened.assignment, dump_signed(kept)
                journal.meta.revision_seen = wanted.revision
                journal.save_meta()

        def tell(kind: str, message: str, code: str) -> None:
            state.queue.add([DeviceEvent(at=clock.now(), kind=kind, code=code, message=message)])

        trust = Trust(state_dir, disk, clock, degraded, config.device, machine.facts, state.committed)
        importing = Importing(config.device, trust, state, config.update.disk_reserve_bytes, accept, tell)
        return importing.take(folder)
    finally:
        state.close()


def _become_owner(state_dir: Path) -> None:
    """Go on as the user whose folder it is: what root wrote there no agent could read."""
    try:
        owner = state_dir.stat()
    except OSError as error:
        raise DeviceError(
            "bad-config", f"The state folder {state_dir} can't be used: {error.strerror}.",
            hint="Enrol this device once before anything is carried to it.",
        ) from error  # fmt: skip
    if os.geteuid() == owner.st_uid:
        return
    if os.geteuid() != 0:
        raise DeviceError("not-allowed", f"{state_dir} is another user's.", hint="Use sudo.")
    os.setgroups([])
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
