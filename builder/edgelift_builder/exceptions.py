"""What other libraries say when they fail, in a sentence or two; and whether it says that the disk or memory ran out.

Every exception that is not ours comes to a person through `summarise`, or `in_short` where only its text is told: so no
reason in a terminal, a report or a page is a dump of many lines, or tells where files lie on the machine that built.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePath

from edgelift_contract.errors import EdgeliftError, disk_code

#: What onnxruntime puts before its sentence: itself, a number, and the path of a file that may be a copy.
_ONNXRUNTIME = re.compile(r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : (Load model from .*? failed:\s*)?")

#: What may be an absolute path. An operator in an ONNX graph may be called `/layers/0/MatMul`, too; see `_name`.
_PATH = re.compile(r"(?<![\w.:/~-])(?:/[^\s/:;,'\"`<>()\[\]{}|]+){2,}/?")
_SOURCE_FILE = re.compile(r"\.(py|pyx|h|hpp|c|cc|cpp|cu|rs|so|onnx|tflite|pt|pt2|mlir)$")

#: Longest that another library's words may be, characters; and the longest reason, its hint beside it.
_LONGEST, _LONGEST_REASON = 300, 600


def shortage_of(error: BaseException) -> str:
    """`no-memory` or `disk-full` where that lies behind the exception, else empty."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MemoryError):
            return "no-memory"
        if isinstance(seen, OSError) and disk_code(seen.errno) == "disk-full":
            return "disk-full"
        seen = seen.__cause__ or seen.__context__
    return ""


def summarise(error: BaseException, *, with_paths: bool = False) -> str:
    """An exception's kind and what it says, see `in_short`."""
    said = in_short(str(error), with_paths=with_paths)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def in_short(text: str, *, with_paths: bool = False) -> str:
    """The first line of another library's words: two sentences at most, of at most 300 characters, without a full stop.

    Args:
        text: what it said.
        with_paths: keep absolute paths, for words of the user's own code; else a file's name alone is left of them.
    """
    lines = [line.strip() for line in _ONNXRUNTIME.sub("", text).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith("following indices"):
        lines[0] = f"{lines[0]}: {lines[1]}"
    if not lines:
        return ""
    said = re.sub(r",? please report a bug to \w+", "", lines[0])
    said = said if with_paths else _without_paths(said)
    said = " ".join(re.split(r"(?<=[.!?])\s+(?=[A-Z])", said)[:2])
    return (said if len(said) <= _LONGEST else said[: _LONGEST - 1] + "…").rstrip(" .:;,")


def as_reason(error: EdgeliftError) -> EdgeliftError:
    """The error of a variant as reports tell it: on one line, without a path, and no longer than a person reads."""
    message = _without_paths(" ".join(error.message.split()))
    if len(message) > _LONGEST_REASON:
        message = message[: _LONGEST_REASON - 1] + "…"
    if message == error.message:
        return error
    told = type(error)(error.code, message, hint=error.hint)
    told.__cause__ = error
    return told


def _without_paths(text: str) -> str:
    return _PATH.sub(lambda found: _name(found[0]), text)


def _name(path: str) -> str:
    """The last part of a path; what only looks like one stays: its first part is no folder, and it names no file."""
    parts = PurePath(path)
    is_file = _SOURCE_FILE.search(path.rstrip("/.")) or "site-packages" in parts.parts
    return parts.name if is_file or Path("/", parts.parts[1]).is_dir() else path
