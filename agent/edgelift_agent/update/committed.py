"""What is committed, once more: a small file beside the state database, for the day the database can't be read.

`committed.json` holds the slots and the floors of their release counters. It is written after the database, by one
rename, so it is whole and never newer; blobs and artifacts are verified by digest anyway before they serve.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from edgelift_agent.system.disk import Disk
from edgelift_agent.update.records import Meta, Records, SlotRow

log = logging.getLogger(__name__)

SCHEMA = 1


class _Committed(msgspec.Struct):
    schema: int
    slots: dict[str, SlotRow]
    floors: dict[str, int]


class CommittedFile:
    """The second file; see the module."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path, self._disk = path, disk
        self._written = b""

    def write(self, records: Records) -> None:
        """Bring the file up to date; does nothing when it is.

        Raises:
            DeviceError: the disk's; the file is then as it was.
        """
        data = msgspec.json.encode(_Committed(SCHEMA, records.slots, records.meta.floors), order="deterministic")
        if data != self._written:
            self._disk.write_file(self._path, data)
            self._written = data

    def read(self) -> Records | None:
        """What was committed, as far as this file knows; None where it can't be read."""
        try:
            data = self._path.read_bytes()
            found = msgspec.json.decode(data, type=_Committed)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, RecursionError) as error:
            log.error("%s can't be read: %s", self._path, error)
            return None
        self._written = data
        return Records(meta=Meta(floors=found.floors), slots=found.slots)
