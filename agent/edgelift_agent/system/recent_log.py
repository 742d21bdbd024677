"""The log's last lines, kept for whoever asks for them: in memory, and in two small files that outlive the process.

What a service prints goes to journald, which the agent's user may not read, and which many boards keep in memory alone.
So each line is also appended here: to a file of at most `FILE_BYTES`, which takes the place of the one before it when
it is full. Nothing waits for the disk (no fsync: a power cut may cost the last seconds), and a disk that refuses costs
the file and nothing else: the lines are in memory still.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path

from edgelift_agent.system.disk import Disk
from edgelift_contract.errors import DeviceError

#: Of all lines in memory, of one line, and of each of the two files, bytes.
MEMORY_BYTES = 256 * 1024
LINE_BYTES = 8 * 1024
FILE_BYTES = 512 * 1024

#: Names in the folder: the file that grows, and the one before it.
CURRENT, BEFORE = "agent.log", "agent.1.log"


class RecentLog(logging.Handler):
    """Keeps the newest lines of whatever it is a handler of."""

    def __init__(self, folder: Path | None = None, disk: Disk | None = None) -> None:
        """Bind; `folder` is where the lines outlive the process, None for nowhere."""
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        # A disk of its own: what is refused here must not be said to be the state folder's trouble, and logged again.
        self._folder, self._disk = folder, disk or Disk()
        self._lines: deque[bytes] = deque()
        self._kept_bytes = 0
        self._writing = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`; called with its lock held."""
        try:
            line = self.format(record).encode("utf-8", "backslashreplace")[:LINE_BYTES] + b"\n"
        except Exception:  # noqa: BLE001 - a message that can't be formatted costs itself, as in every handler
            return
        self._lines.append(line)
        self._kept_bytes += len(line)
        while self._kept_bytes > MEMORY_BYTES:
            self._kept_bytes -= len(self._lines.popleft())
        if self._folder is not None and not getattr(self._writing, "now", False):
            self._writing.now = True
            try:
                with suppress(DeviceError):
                    self._write(self._folder, line)
            finally:
                self._writing.now = False

    def _write(self, folder: Path, line: bytes) -> None:
        path = folder / CURRENT
        self._disk.make_folder(folder)
        with self._disk.open(path, "ab") as handle:
            full = handle.tell() + len(line) > FILE_BYTES
            if not full:
                self._disk.write(handle, line, path)
        if full:
            self._disk.rename(path, folder / BEFORE)
            with self._disk.open(path, "ab") as handle:
                self._disk.write(handle, line, path)

    def read(self, limit_bytes: int) -> bytes:
        """The newest lines, oldest first, of at most so many bytes: of the files where they tell more than memory."""
        self.acquire()
        try:
            memory = b"".join(self._lines)
        finally:
            self.release()
        found = b"".join(map(_read, (self._folder / BEFORE, self._folder / CURRENT))) if self._folder else b""
        # What was refused by the disk is in memory alone; then the files are only what came before this process.
        newest = memory[-LINE_BYTES:]
        whole = found if found.endswith(newest) else found + memory
        return _last_lines(whole, limit_bytes)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _last_lines(text: bytes, limit_bytes: int) -> bytes:
    if len(text) <= limit_bytes:
        return text
    cut = text[-limit_bytes:] if limit_bytes else b""
    return cut[cut.find(b"\n") + 1 :]
