"""A site is its owner's: nobody else on the machine reads its inventory, its models or its secrets.

New files are made so. What an older release, or a copy with a common umask, left readable to all is shut at each start of
the server; where a group was let in and others were not, somebody meant it, and it stays.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from edgelift_fleet.files import disk_errors
from edgelift_fleet.site import SITE_FILE, Site

log = logging.getLogger(__name__)

_OTHERS = stat.S_IRWXO
_OWNER = stat.S_IRWXU


def keep_private(site: Site) -> int:
    """Shut what others may use of a site; returns how many files and folders that were.

    Raises:
        DeviceError: `read-only` where they belong to another user.
    """
    shut = 0
    for path in _ours(site):
        try:
            mode = stat.S_IMODE(path.lstat().st_mode)
        except FileNotFoundError:
            continue
        if mode & _OTHERS and not path.is_symlink():
            with disk_errors(f"the permissions of {path}"):
                path.chmod(mode & _OWNER)
            shut += 1
    if shut:
        log.warning("shut what other users could read files=%d folder=%s", shut, site.folder)
    return shut


def _ours(site: Site) -> Iterator[Path]:
    yield site.folder
    yield from (site.folder / name for name in (SITE_FILE, "secrets", "run", "backups"))
    if isinstance(site.database, Path):
        yield from site.folder.glob(f"{site.database.name}*")  # with its log and its index
    yield site.blobs
    if site.blobs.is_dir():
        with os.scandir(site.blobs) as entries:
            yield from (Path(entry.path) for entry in entries)
