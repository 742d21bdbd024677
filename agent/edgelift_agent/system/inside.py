"""Opening files below a folder that anybody may have written: no name and no link leads out of it, nothing blocks."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def open_inside(folder: Path, name: str) -> int:
    """A descriptor to read a file by; each part of its name is opened from the one before, and none may be a link.

    Args:
        folder: may be reached by links itself: it is whom this process was told to read.
        name: as `blobs/ab12`.

    Raises:
        FileNotFoundError: there is none, or the name is none of a file below the folder.
        OSError: it can't be opened; ELOOP for a link, EINVAL for what is no file.
    """
    parts = name.split("/")
    if not all(parts) or {".", ".."} & set(parts) or "\0" in name:
        raise FileNotFoundError(f"{name!r} names no file of the folder")
    found = _walk(folder, parts)
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise OSError(22, "not a file")
    return found


def _walk(folder: Path, parts: list[str]) -> int:
    at = os.open(folder, _FOLDER)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = inner
        # Not waiting: a pipe of this name would have no other end.
        return os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    finally:
        os.close(at)
