"""Secrets taken out of what leaves the board for people: by their field's name, and by what they are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

#: What stands in a secret's place.
REMOVED = "[removed]"

#: Names of what nobody else is to read.
_NAMES = re.compile(r"token|passw|secret|credential|private|api_?key|psk", re.IGNORECASE)
#: … but for where a secret lies: its file's name is no secret.
_PLACES = re.compile(r"_(file|path|dir)\Z", re.IGNORECASE)
#: As programs write them into their messages.
_IN_TEXT = re.compile(
    rb"(?i)\b((?:authorization[\"']?\s*[:=]\s*[\"']?)?(?:bearer|basic)\s+"
    rb"|(?:authorization|passw(?:or)?d|token)[\"']?\s*[:=]\s*[\"']?)"
    rb"(?!\[removed\])[!#-&(-~]{4,}"
)
_IN_URL = re.compile(rb"://[^\s/@\"']{1,512}@")
#: Shorter ones would take harmless words along.
_LEAST = 6


def without_secrets(value: Any) -> Any:
    """Plain JSON values with every secret that a field's name gives away replaced."""
    if isinstance(value, dict):
        return {
            key: REMOVED if one and _is_secret(str(key)) and isinstance(one, str) else without_secrets(one)
            for key, one in value.items()
        }
    return [without_secrets(one) for one in value] if isinstance(value, list | tuple) else value


def _is_secret(name: str) -> bool:
    return _NAMES.search(name) is not None and _PLACES.search(name) is None


def scrubbed(text: bytes, known: Iterable[str]) -> bytes:
    """`text` without the secrets that are known, and without what looks like one after its own name."""
    for secret in known:
        if len(secret) >= _LEAST:
            text = text.replace(secret.encode(), REMOVED.encode())
    text = _IN_URL.sub(b"://" + REMOVED.encode() + b"@", text)
    return _IN_TEXT.sub(lambda match: match[1] + REMOVED.encode(), text)
