"""Style and scripts: files of ours, and those that the build put beside them."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "static"
_MEDIA = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@cache
def static_files() -> dict[str, tuple[bytes, str, str]]:
    """Name → (content, media type, tag). Few and small: read once, and no path that is asked for reaches the disk."""
    found = {}
    for path in sorted(_FOLDER.rglob("*")):
        if path.suffix in _MEDIA:
            body = path.read_bytes()
            tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            found[path.relative_to(_FOLDER).as_posix()] = (body, _MEDIA[path.suffix], tag)
    return found


def has_file(name: str) -> bool:
    """Is there such a file? Scripts of others are not where nobody built them in."""
    return name in static_files()
