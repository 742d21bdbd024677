"""Stored blobs are read again on a schedule, slowly, and one that is no longer what its name says is set aside.

A disk that alters a model's bytes says nothing of it; devices would fetch them, refuse them, and fetch them again. A damaged
blob goes to `.damaged/` beside the others: it is missing from then on (404 `missing-blob`), health and the list of releases
say so, and publishing its release again puts it back. What a round has read is remembered, so that a restart goes on.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import threading
import time
from pathlib import Path

from edgelift_contract.errors import EdgeliftError
from edgelift_contract.ids import SHA256_PATTERN
from edgelift_contract.manifest import parse_manifest
from edgelift_fleet.blob_files import DAMAGED
from edgelift_fleet.files import disk_errors, write_atomically

log = logging.getLogger(__name__)

#: How fast blobs are read, bytes a second: a tenth of what the disk of a small board gives.
BYTES_PER_S = 8 << 20
#: How long after its beginning a round may be followed by the next, seconds.
ROUND_EVERY_S = 7 * 86400.0
_LOOK_S = 60.0
_PIECE_BYTES = 1 << 20


class Scrub:
    """Reads the blobs of a folder while its block runs; `memory` is the file that tells how far it came."""

    def __init__(self, folder: Path, memory: Path, *, bytes_per_s: float = BYTES_PER_S) -> None:
        self._folder, self._memory, self._rate = folder, memory, bytes_per_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scrub", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(2)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.go_on(time.time())
            except (EdgeliftError, OSError) as error:
                log.warning("the blobs were not read again: %s", error)
            self._stopping.wait(_LOOK_S)

    def go_on(self, now: float) -> list[str]:
        """Go on with the round, or begin the next where it is due; returns the blobs that were found damaged."""
        began_at, after = self._remembered()
        if after is None and 0 <= now - began_at < ROUND_EVERY_S:
            return []
        if after is None:
            began_at, after = now, ""
        found = []
        for path in sorted(self._folder.iterdir()):
            if path.name <= after or not re.match(SHA256_PATTERN, path.name):
                continue
            if self._is_damaged(path):
                found.append(path.name)
            if self._stopping.is_set():
                return found
            self._remember(began_at, path.name)
        self._remember(began_at, None)
        return found

    def _is_damaged(self, path: Path) -> bool:
        digest = hashlib.sha256()
        try:
            with path.open("rb") as file:
                while piece := file.read(_PIECE_BYTES):
                    digest.update(piece)
                    if self._stopping.wait(len(piece) / self._rate):
                        return False
        except FileNotFoundError:
            return False  # it was collected meanwhile
        except OSError as error:
            log.error("damaged blob %s: %s", path.name, error.strerror)
        if digest.hexdigest() == path.name:
            return False
        log.error("damaged blob %s is set aside: publish its release again", path.name)
        with disk_errors("the blob store"):
            aside = self._folder / DAMAGED
            aside.mkdir(mode=0o700, exist_ok=True)
            path.replace(aside / path.name)
        return True

    def _remembered(self) -> tuple[float, str | None]:
        """When the round began, and the last blob that it has read; None once it is done."""
        try:
            kept = json.loads(self._memory.read_text())
            return float(kept["began_at"]), None if kept["after"] is None else str(kept["after"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0.0, None

    def _remember(self, began_at: float, after: str | None) -> None:
        data = json.dumps({"began_at": began_at, "after": after}).encode()
        write_atomically(self._memory, data, mode=0o600)


def damaged_blobs(folder: Path) -> set[str]:
    """Blobs that were set aside and not published again since."""
    aside = folder / DAMAGED
    return (
        {path.name for path in aside.iterdir() if not (folder / path.name).exists()} if aside.is_dir() else set()
    )


def is_whole(folder: Path, artifact: str, damaged: set[str]) -> bool:
    """Is no file of an artifact among the damaged?"""
    if artifact in damaged:
        return False
    try:
        manifest = parse_manifest((folder / artifact).read_bytes())
    except (OSError, EdgeliftError):
        return False
    return not any(file.sha256 in damaged for file in manifest.files)
