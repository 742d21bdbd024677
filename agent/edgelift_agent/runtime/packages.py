"""Which packages are installed, found without importing them."""

from __future__ import annotations

import re
from functools import cache
from importlib import metadata, util
from pathlib import Path


@cache
def version_of(package: str) -> str | None:
    """Version of an installed package, None where it is not; the same for as long as the process lives.

    Asked at every swap, and parsing a package's metadata costs a millisecond that requests would wait for.
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@cache
def version_in(module: str) -> str | None:
    """The `__version__` that a top-level package writes in its own `__init__.py`; None where it writes none.

    Of two distributions that bring one package, as onnxruntime and onnxruntime-gpu do, the one installed last overwrote
    the other's files, and only they tell which that was.
    """
    found = util.find_spec(module)
    if found is None or not found.origin:
        return None
    try:
        written = re.search(
            r'^__version__\s*=\s*["\']([^"\']+)', Path(found.origin).read_text(errors="replace"), re.M
        )
    except OSError:
        return None
    return written[1] if written else None
