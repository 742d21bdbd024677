"""What the agent keeps on disk: its lock, journal, telemetry and models, opened as far as the disk allows."""

from __future__ import annotations

import logging
from pathlib import Path

from edgelift_agent.artifact.store import Store
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.disk import Disk
from edgelift_agent.telemetry.queue import TelemetryQueue
from edgelift_agent.update.journal import Journal
from edgelift_contract.errors import DeviceError

log = logging.getLogger(__name__)

PART = "state-folder"


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
        self.store = Store(root, disk)
        self.mend()
        self.journal = Journal(root / "state.db", disk, degraded)
        self.queue = TelemetryQueue(self.journal, disk, lambda: self.journal.meta.outbox, degraded)

    def mend(self) -> None:
        """Make the folders and take the lock, where that is still to be done.

        Raises:
            DeviceError: `already-running`.
        """
        try:
            self._disk.make_folder(self._root)
            if self._lock is None:
                self._lock = self._disk.lock(self._root)
            self.store.make_folders()
        except DeviceError as error:
            if error.code == "already-running":
                raise
            self._degraded.begin(PART, error.code, str(error))
        else:
            self._degraded.end(PART)

    def close(self) -> None:
        """Close the database; the lock is held until the process ends."""
        self.journal.close()
