"""What the agent keeps on disk: its lock, journal, telemetry and models, opened as far as the disk allows."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from edgelift_agent.artifact.store import Store
from edgelift_agent.ports import Committed
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.disk import Disk, mapped_errors
from edgelift_agent.telemetry import queue
from edgelift_agent.telemetry.queue import TelemetryQueue
from edgelift_agent.update import journal
from edgelift_agent.update.journal import Journal
from edgelift_contract.errors import DeviceError

log = logging.getLogger(__name__)

PART = "state-folder"
#: Parts that the state database has.
_DATABASE = (journal.PART, queue.PART)
#: What is written to learn whether the disk takes something again.
PROBE, PROBE_BYTES = "probe", 65536


class StateFolder:
    """An open state folder.

    Attributes:
        journal, queue, store: the records, what waits for the host, the models.
    """

    def __init__(self, root: Path, disk: Disk, degraded: Degraded) -> None:
        """Open it; what the disk refuses is stated in `degraded` and tried again by `mend`.

        Raises:
            DeviceError: `already-running`.
        """
        self._root, self._disk, self._degraded = root, disk, degraded
        self._lock: int | None = None
        disk.on_refusal = self._refused
        self.store = Store(root, disk)
        self.mend()
        self.journal = Journal(root / "state.db", disk, degraded)
        self.queue = TelemetryQueue(self.journal, disk, lambda: self.journal.meta.outbox, degraded)

    def _refused(self, error: DeviceError, path: Path) -> None:
        if path.is_relative_to(self._root):  # another folder's trouble is said by who needs that folder
            self._degraded.begin(PART, error.code, str(error))

    def mend(self) -> None:
        """Make the folders and take the lock, where that is still to be done; look whether a refusal is over.

        Raises:
            DeviceError: `already-running`.
        """
        try:
            self._disk.make_folder(self._root)
            self._keep_lock()
            self.store.make_folders()
            if any(fault.part == PART for fault in self._degraded.reasons()):
                self._try_writing()
        except DeviceError as error:
            if error.code == "already-running":
                raise
            self._refused(error, self._root)
        else:
            # What the database alone is refused is over when it can be written, whatever a probe beside it shows.
            if not any(fault.part in _DATABASE for fault in self._degraded.reasons()):
                self._degraded.end(PART)

    def look_again(self) -> None:
        """See whether what the disk refused is over; to be called now and then.

        Where the folder was taken away and another agent has that name's by now, this one serves on and writes nothing.
        """
        try:
            self.mend()
        except DeviceError as error:
            self._degraded.begin(PART, error.code, str(error))
            self.journal.bar(error)
            return
        self.journal.bar(None)
        self.journal.look_again()
        self.queue.mend()

    def committed(self) -> Committed:
        """As it stands now; also asked from other threads than the journal's."""
        rows = list(self.journal.slots.items())
        return Committed(
            floors=dict(self.journal.meta.floors),
            installed={slot: row.artifact for slot, row in rows},
            before={slot: row.before for slot, row in rows},
        )

    def _keep_lock(self) -> None:
        """Lock the folder, again where another has its name by now: the lock on the one before keeps nobody out."""
        with mapped_errors("look at", self._root):
            if self._lock is not None and not os.path.samestat(os.fstat(self._lock), self._root.stat()):
                log.error("%s was removed or replaced under this agent", self._root)
                os.close(self._lock)
                self._lock = None
        if self._lock is None:
            self._lock = self._disk.lock(self._root)

    def _try_writing(self) -> None:
        # More than a block, and a name of its own: a disk may refuse either.
        probe = self._root / PROBE
        self._disk.write_file(probe, bytes(PROBE_BYTES))
        self._disk.unlink(probe)

    def close(self) -> None:
        """Close the database; the lock is held until the process ends."""
        self.journal.close()
