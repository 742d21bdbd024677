"""Where the board stands, as its system was told: maintenance windows are meant in this zone."""

from __future__ import annotations

import re
from pathlib import Path

_NAME = re.compile(r"^[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,2}\Z")


def timezone_name(root: Path = Path("/")) -> str:
    """The zone's name, as `Europe/Vienna`; empty where the system doesn't tell.

    `/etc/localtime` comes first: it is what the C library goes by, and newer systems keep only this link up to date.

    Args:
        root: the file system's root.
    """
    for read in (_of_link, _of_file):
        try:
            name = read(root / "etc")
        except OSError:
            continue
        if _NAME.match(name) and len(name) <= 64:
            return name
    return ""


def _of_link(etc: Path) -> str:
    where = str((etc / "localtime").readlink())
    return re.sub(r"^(posix|right)/", "", where.partition("zoneinfo/")[2])


def _of_file(etc: Path) -> str:
    with (etc / "timezone").open("rb") as file:
        return file.read(200).decode(errors="replace").strip()
