"""An exception in one line, and whether it says that the disk or memory ran out."""

from __future__ import annotations

import re

from edgelift_contract.errors import disk_code

#: What onnxruntime puts before its sentence: itself, a number, and the path of a file that may be a copy.
_ONNXRUNTIME = re.compile(r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : (Load model from .*? failed:\s*)?")


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


def summarise(error: BaseException) -> str:
    """An exception in one line of at most 300 characters: its kind and the first line of what it says."""
    lines = [line.strip() for line in _ONNXRUNTIME.sub("", str(error)).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith("following indices"):
        lines[0] = f"{lines[0]}: {lines[1]}"
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return (text if len(text) <= 300 else text[:297] + "…").rstrip(".")
