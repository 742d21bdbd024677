"""Which packages are installed, found without importing them."""

from __future__ import annotations

from functools import cache
from importlib import metadata


@cache
def version_of(package: str) -> str | None:
    """Version of an installed package, None where it is not; the same for as long as the process lives.

    Asked at every swap, and parsing a package's metadata costs a millisecond that requests would wait for.
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
