"""A place to build in, beside where the release will stand, and one rename when it is done.

The release appears whole or not at all. Whatever ends the build (an error, a signal, a full disk) takes the
staging folder with it; what a power cut or `kill -9` leaves is swept away by the next build.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgelift_builder import ending
from edgelift_builder.child import sweep_temporary
from edgelift_contract.errors import ContractError, DeviceError, EdgeliftError, disk_code
from edgelift_contract.release import RELEASE_FILE

_PREFIX = ".edgelift-partial-"

#: With less than this free, bytes, a failure counts as one of the full disk, whatever a library said.
_FULL_BYTES = 256 * 1024


@contextmanager
def staging(parent: Path) -> Iterator[Path]:
    """A fresh folder in `parent` for as long as the context lasts.

    Raises:
        DeviceError: `read-only`, `disk-full` or `disk-error`, also for what fails inside because there is no space.
    """
    created = [p for p in (parent, *parent.parents) if not p.exists()]
    folder = parent / f"{_PREFIX}{os.getpid()}"
    with ending.removed(folder, created):
        try:
            with _disk_errors(parent):
                parent.mkdir(parents=True, exist_ok=True)
                sweep(parent)
                folder.mkdir()
                yield folder
        except EdgeliftError as error:
            if error.code != "disk-full" and is_full(folder):
                raise _full(parent) from error
            raise


def is_full(folder: Path) -> bool:
    """Is there so little space left that a failure counts as one of the full disk."""
    return folder.exists() and shutil.disk_usage(folder).free < _FULL_BYTES


@contextmanager
def _disk_errors(parent: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        blocked = isinstance(error, NotADirectoryError | FileExistsError)  # a file stands where a folder should
        code = "read-only" if blocked else disk_code(error.errno)
        if code == "disk-full":
            raise _full(parent) from error
        if code == "read-only":
            raise DeviceError(
                "read-only",
                f"The folder {parent} cannot be written: {error.strerror}.",
                hint="Choose another with --out.",
            ) from error
        raise DeviceError(code, f"Writing to {parent} failed: {error.strerror or error}.") from error


def _full(parent: Path) -> DeviceError:
    return DeviceError(
        "disk-full",
        f"There is not enough free space in {parent} for this build.",
        hint="Free some space, or choose another folder with --out.",
    )


def refuse_existing(out: Path, *, force: bool) -> None:
    """Refuse to write over something; `force` replaces a release or an empty folder, and nothing else.

    Raises:
        ContractError: `conflict`.
    """
    if not os.path.lexists(out):
        return
    if not force:
        raise ContractError(
            "conflict",
            f"{out} exists already.",
            hint="Raise --version, choose another --out, or replace it with --force.",
        )
    if not out.is_dir() or (any(out.iterdir()) and not (out / RELEASE_FILE).exists()):
        raise ContractError(
            "conflict", f"{out} is not a release, and --force replaces nothing else.", hint="Choose another --out."
        )


def put_in_place(made: Path, out: Path, *, force: bool) -> None:
    """Give the finished folder `made` its name `out`; an older one there is taken away, but not before.

    From here on the build is done, and no signal undoes it.

    Raises:
        ContractError: `conflict`, as `refuse_existing`: another build may have taken the name meanwhile.
    """
    with ending.held():
        refuse_existing(out, force=force)
        old = made.parent / "replaced"
        if out.exists():
            out.rename(old)
        try:
            made.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise
        ending.done()


def sweep(parent: Path) -> None:
    """Remove what builds that are no longer alive left in `parent`."""
    for left in parent.glob(f"{_PREFIX}*"):
        found = re.fullmatch(re.escape(_PREFIX) + r"(\d+)", left.name)
        if found and not ending.is_alive(int(found[1])):
            shutil.rmtree(left, ignore_errors=True)
    sweep_temporary()
