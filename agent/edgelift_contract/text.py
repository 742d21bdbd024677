"""Text from another machine, made harmless for terminals and pages: nothing invisible, nothing that moves anything.

An escape byte moves a terminal's cursor, a direction mark turns a line round, a character of no width makes two names
look alike. Each becomes `�`, so that it is seen that something was there; tabs and breaks of lines become spaces.
Cleaned once where it comes in, so that what is stored is clean, and again on its way to a terminal.
"""

from __future__ import annotations

import re
import unicodedata

#: What is harmful: controls, format characters (direction, width, joiners), half characters, what no font may draw, and
#: the separators that some programs take for the end of a line.
_HARMFUL = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
#: Letters by their category that are drawn as nothing: Hangul fillers, the blank of Braille, joiners and selectors.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {
    chr(c) for c in range(0xFE00, 0xFE10)
}
_PLAIN = re.compile(r"[ -~]*\Z")


def clean(text: str, *, keep: str = "") -> str:
    """`text` with each harmful character replaced by `�`, and each tab or line break by a space; as long as before.

    Args:
        text: from outside.
        keep: characters that are left, as line breaks where a text of several lines is meant.
    """
    if _PLAIN.match(text):
        return text
    cleaned = "".join(c if c in keep else _harmless(c) for c in text)
    return text if cleaned == text else cleaned


def _harmless(character: str) -> str:
    if character in "\t\n":
        return " "
    harmful = (
        unicodedata.category(character) in _HARMFUL or character in _INVISIBLE or ord(character) & 0xFFFE == 0xFFFE
    )
    return "\N{REPLACEMENT CHARACTER}" if harmful else character


def is_plainly_clean(data: bytes) -> bool:
    """Can JSON in these bytes hold no harmful text? Quick, and right whenever it says yes: printable ASCII, no escapes."""
    return data.isascii() and b"\\" not in data and b"\x7f" not in data
